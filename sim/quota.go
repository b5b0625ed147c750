package sim

import "time"

// rates holds the calls per second that an account may make in a region, by group. All calls of a group count together.
// Source: https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_limits.html,
// https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
var rates = map[string]float64{"read": 10000, "list": 100, "create": 50, "delete": 50, "restore": 50, "random": 50,
	"versions": 50, "policy": 50, "write": 50, "rotate": 50, "tag": 50, "batch": 100, "lambda": 15}

type quotaKey struct{ account, region, group string }

// bucket is a token bucket. left is its level at the time at.
type bucket struct {
	left float64
	at   time.Time
}

// spend deducts one call from an account's quota. It uses the time of Wall, so the clock's speed does not matter.
// Unknown: the size of AWS's bursts; the simulator allows one second's worth.
func (s *Sim) spend(c *caller, group string) *fault {
	if !s.opts.Quotas {
		return nil
	}
	rate, now := rates[group], s.clock.Wall()
	key := quotaKey{c.account, c.region, group}
	b := s.quotas[key]
	if b == nil {
		b = &bucket{rate, now}
		s.quotas[key] = b
	}
	b.left = min(rate, b.left+rate*now.Sub(b.at).Seconds())
	b.at = now
	if b.left < 1 {
		s.stats.Throttled++
		return throttled
	}
	b.left--
	return nil
}

var throttled = &fault{"ThrottlingException", "Rate exceeded"}
