package sim

import (
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/google/uuid"
)

// shownRules returns rules as DescribeSecret shows them: with the days that AWS derives from an expression.
func shownRules(r *types.RotationRulesType) answer {
	if r == nil {
		return nil
	}
	out := answer{"Duration": r.Duration, "ScheduleExpression": r.ScheduleExpression}
	if times, _ := newSchedule(r); times != nil {
		out["AutomaticallyAfterDays"] = times.days
	}
	return out
}

// schedule yields windows in which a secret is rotated, all in UTC.
// Source: https://docs.aws.amazon.com/secretsmanager/latest/userguide/rotate-secrets_schedule.html
type schedule struct {
	next   func(time.Time) time.Time // when the first window after a time opens
	length time.Duration             // of a window, or 0 for the rest of its day
	days   int                       // between windows. Unknown: how AWS rounds; this is rounded up
}

const day = 24 * time.Hour

var (
	rateForm = regexp.MustCompile(`^rate\((\d{1,4}) (hour|day)s?\)$`)
	cronForm = regexp.MustCompile(`^cron\(0 +(\S+) +(\S+) +(\S+) +(\S+) +\*\)$`)
)

// newSchedule parses rules. It returns nil for empty ones. A rate in days counts from the midnight before. Its window,
// and that of a cron expression with one hour per day, lasts to the end of the day by default; other windows last an
// hour. A window must end before the next one begins or, for a schedule in days, before the day ends. Unknown: AWS's
// texts for a bad schedule, and the start of a rate in hours; the simulator counts from the zero time, which keeps the
// windows exactly one interval apart, and at midnight if the rate divides a day.
func newSchedule(r *types.RotationRulesType) (*schedule, error) {
	e := aws.ToString(r.ScheduleExpression)
	if r.AutomaticallyAfterDays != nil {
		e = fmt.Sprintf("rate(%d days)", *r.AutomaticallyAfterDays)
	}
	s, longest, shortest := &schedule{}, day, day
	switch rate, cron := rateForm.FindStringSubmatch(e), cronForm.FindStringSubmatch(e); {
	case e == "" && r.Duration == nil:
		return nil, nil
	case e == "":
		return nil, errors.New("a duration needs a schedule")
	case rate != nil && rate[2] == "day":
		n, _ := strconv.Atoi(rate[1]) // the form allows only digits
		s.next = func(t time.Time) time.Time { return midnight(t).AddDate(0, 0, n) }
	case rate != nil:
		n, _ := strconv.Atoi(rate[1])
		every := time.Duration(n) * time.Hour
		s.length, shortest, longest = time.Hour, every, every
		s.next = func(t time.Time) time.Time { return t.UTC().Truncate(every).Add(every) }
	case cron != nil:
		c, ok := parseCron(cron[1], cron[2], cron[3], cron[4])
		if !ok {
			return nil, fmt.Errorf("%s has an invalid field, or never occurs", e)
		}
		s.next, shortest = c.next, c.gap()
		if longest = day - time.Duration(c.hours[0])*time.Hour; len(c.hours) > 1 {
			s.length, longest = time.Hour, c.gap()
		}
	default:
		return nil, fmt.Errorf(
			"%s is not rate(N hours), rate(N days) or cron(0 hours day-of-month month day-of-week *)", e)
	}
	first := s.next(time.Time{})
	s.days = int(math.Ceil(s.next(first).Sub(first).Hours() / 24))
	if shortest < 4*time.Hour || s.days < 1 {
		return nil, fmt.Errorf("%s is more often than every four hours", e)
	}
	if r.Duration != nil {
		n, err := strconv.Atoi(strings.TrimSuffix(*r.Duration, "h"))
		if err != nil || n < 1 {
			return nil, fmt.Errorf("duration %s is not a number of hours such as 3h", *r.Duration)
		}
		s.length = time.Duration(n) * time.Hour
	}
	if s.length > longest {
		return nil, fmt.Errorf("a window of %.0f hours would reach beyond its limit of %.0f hours",
			s.length.Hours(), longest.Hours())
	}
	return s, nil
}

func midnight(t time.Time) time.Time { return t.UTC().Truncate(day) }

// window returns the first window that opens after base.
func (s *schedule) window(base time.Time) (open, end time.Time) {
	open = s.next(base)
	if s.length > 0 {
		return open, open.Add(s.length)
	}
	return open, midnight(open).Add(day - time.Second)
}

// cron is a cron expression of Secrets Manager, without minutes and years.
type cron struct {
	hours, months []int // sorted
	day           func(time.Time) bool
}

var (
	monthNames = []string{"JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"}
	dayNames   = []string{"SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"}
)

// parseCron parses the fields of an expression.
func parseCron(hours, ofMonth, month, ofWeek string) (*cron, bool) {
	in, ok := values(hours, 0, 23)
	months, ok2 := values(month, 1, 12, monthNames...)
	day, ok3 := days(ofMonth, ofWeek)
	c := &cron{in, months, day}
	return c, ok && ok2 && ok3 && !c.next(time.Time{}).IsZero()
}

// values parses a field: *, numbers or names, ranges, steps, or lists of these.
func values(field string, low, high int, names ...string) (out []int, ok bool) {
	number := func(text string) int {
		if i := slices.Index(names, strings.ToUpper(text)); i >= 0 {
			return i + 1
		}
		n, err := strconv.Atoi(text)
		if err != nil {
			return -1
		}
		return n
	}
	for part := range strings.SplitSeq(field, ",") {
		span, step, stepped := strings.Cut(part, "/")
		first, last, ranged := strings.Cut(span, "-")
		from, to, by := number(first), number(last), 1
		if stepped {
			by, _ = strconv.Atoi(step) // refused below if it is not a number
		}
		switch {
		case span == "*" || span == "" && stepped:
			from, to = low, high
		case !ranged && stepped:
			to = high
		case !ranged:
			to = from
		}
		if from < low || to > high || from > to || by < 1 || by > high {
			return nil, false
		}
		for n := from; n <= to; n += by {
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return slices.Compact(out), true
}

// days parses day-of-month and day-of-week, one of which is "?". L is the last day of the month or of the week, whose
// first day is Sunday, number 1. 6L or FRIL is the last Friday of the month, and SUN#1 its first Sunday. day-of-month
// also accepts FRIL.
func days(ofMonth, ofWeek string) (on func(time.Time) bool, ok bool) {
	if (ofMonth == "?") == (ofWeek == "?") {
		return nil, false
	}
	if special := strings.ToUpper(strings.Trim(ofMonth+ofWeek, "?")); strings.ContainsAny(special, "L#") {
		return func(t time.Time) bool {
			lastOfMonth := func(days int) bool { return t.AddDate(0, 0, days).Month() != t.Month() }
			number := int(t.Weekday()) + 1
			for _, name := range []string{strconv.Itoa(number), dayNames[number-1]} {
				if special == fmt.Sprintf("%s#%d", name, (t.Day()+6)/7) || special == name+"L" && lastOfMonth(7) {
					return true
				}
			}
			return special == "L" && (ofWeek == "?" && lastOfMonth(1) || ofMonth == "?" && t.Weekday() == time.Saturday)
		}, true
	}
	if ofWeek == "?" {
		in, ok := values(ofMonth, 1, 31)
		return func(t time.Time) bool { return slices.Contains(in, t.Day()) }, ok
	}
	in, ok := values(ofWeek, 1, 7, dayNames...)
	return func(t time.Time) bool { return slices.Contains(in, int(t.Weekday())+1) }, ok
}

// gap returns the shortest time between two hours of a day.
func (c *cron) gap() time.Duration {
	least, last := 24, c.hours[len(c.hours)-1]-24
	for _, h := range c.hours {
		least, last = min(least, h-last), h
	}
	return time.Duration(least) * time.Hour
}

// next returns the first time after t, or the zero time if there is none within 41 years: even the
// rarest day, a certain weekday on February 29, recurs within 40.
func (c *cron) next(t time.Time) time.Time {
	for d := midnight(t); d.Before(t.AddDate(41, 0, 0)); d = d.AddDate(0, 0, 1) {
		if !slices.Contains(c.months, int(d.Month())) || !c.day(d) {
			continue
		}
		for _, h := range c.hours {
			if at := d.Add(time.Duration(h) * time.Hour); at.After(t) {
				return at
			}
		}
	}
	return time.Time{}
}

// window returns the first window of a secret's schedule after base, or zero times if it has none.
func (sec *secret) window(base time.Time) (open, end time.Time) {
	if r := &sec.Rotation; r.Enabled && r.Rules != nil && r.Function != "" {
		if times, _ := newSchedule(r.Rules); times != nil { // the rules were validated before they were stored
			return times.window(base)
		}
	}
	return time.Time{}, time.Time{}
}

// plan sets a secret's next rotation, counted from base: the last rotation or the last value set by hand.
func (s *Sim) plan(sec *secret, base time.Time) {
	sec.Rotation.Open, sec.Rotation.Next = sec.window(base)
	s.arm(sec, base)
}

// arm sets the timer of a secret: for its erasure or, not before earliest, for its next rotation. If the planned window
// was missed or its rotation failed, the next rotation is in the first window after earliest, and NextRotationDate stays
// in the past, as on AWS. The time within a window depends on the ARN, to spread the secrets of one schedule; AWS
// documents only that it may be any time.
func (s *Sim) arm(sec *secret, earliest time.Time) {
	if sec.disarm != nil {
		sec.disarm()
	}
	sec.due = sec.Deleted
	if sec.due.IsZero() {
		open, end := sec.Rotation.Open, sec.Rotation.Next
		_, unfinished := sec.unfinished()
		r := sec.Rotation.run
		promoted := r != nil && r.err != nil && r.token == sec.Labels[current] // it failed afterwards
		if unfinished || promoted || earliest.After(end) {
			open, end = sec.window(earliest)
		}
		if end.IsZero() {
			return
		}
		h := fnv.New64a()
		fmt.Fprint(h, sec.ARN, open.Unix())
		sec.due = open.Add(time.Duration(float64(end.Sub(open)) * float64(h.Sum64()>>11) / (1 << 53)))
		if sec.due.Before(earliest) {
			sec.due = earliest
		}
	}
	at := sec.due
	sec.disarm = s.clock.At(at, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if sec.due.Equal(at) { // the timer may have been set anew while this waited for the lock
			s.fallDue(sec, at)
		}
	})
}

// fallDue erases a secret or begins its planned rotation. If a test is running, its end plans the rotation again.
func (s *Sim) fallDue(sec *secret, at time.Time) {
	r := &sec.Rotation
	switch {
	case s.stopped() || s.secrets[sec.place()] != sec:
	case !sec.Deleted.IsZero():
		s.erase(sec)
	case r.Enabled && !r.run.active():
		// An unfinished rotation is retried with the same token.
		token, unfinished := sec.unfinished()
		if !unfinished {
			token = uuid.NewString()
		}
		s.begin(sec, token, false, at)
	}
}

// unfinished returns the version of an unfinished rotation, if there is one.
func (sec *secret) unfinished() (string, bool) {
	p, ok := sec.Labels[pending]
	return p, ok && p != sec.Labels[current]
}
