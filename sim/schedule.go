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

	"github.com/google/uuid"
)

// rules specify when a secret is rotated.
type rules struct {
	AutomaticallyAfterDays *int64 `min:"1" max:"1000"`
	Duration               string `min:"2" max:"3" pattern:"[0-9]+h"`
	ScheduleExpression     string `min:"1" max:"256" pattern:"[0-9A-Za-z\\(\\)#\\?\\*\\-\\/, ]+"`
}

// shown returns the rules as DescribeSecret shows them: with the days that AWS derives from an expression.
func (r *rules) shown() answer {
	if r == nil {
		return nil
	}
	out := answer{"Duration": r.Duration, "ScheduleExpression": r.ScheduleExpression}
	if times, _ := r.schedule(); times != nil {
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

var rateForm = regexp.MustCompile(`^rate\((\d{1,5}) (hours?|days?)\)$`)

// schedule parses rules. It returns nil if they are empty. A rate in days counts from the midnight before. Its window,
// and that of a cron expression with one hour per day, lasts to the end of the day by default; other windows last an
// hour. A window must end before the next one begins or, for a schedule in days, before the day ends. Unknown: AWS's
// texts for a bad schedule, and the start of a rate in hours; the simulator counts from the zero time, which keeps the
// windows exactly one interval apart, and at midnight if the rate divides a day.
func (r *rules) schedule() (*schedule, error) {
	e := r.ScheduleExpression
	if r.AutomaticallyAfterDays != nil {
		e = fmt.Sprintf("rate(%d days)", *r.AutomaticallyAfterDays)
	}
	s, longest := &schedule{}, day
	switch rate := rateForm.FindStringSubmatch(e); {
	case e == "" && r.Duration == "":
		return nil, nil
	case e == "":
		return nil, errors.New("a duration needs a schedule")
	case rate != nil:
		n, err := strconv.Atoi(rate[1])
		switch {
		case err != nil || n < 1 || n > 1000*24:
			return nil, fmt.Errorf("%s has an invalid interval", e)
		case strings.HasPrefix(rate[2], "day"):
			s.days = n
			s.next = func(t time.Time) time.Time { return midnight(t).AddDate(0, 0, n) }
		case n < 4:
			return nil, fmt.Errorf("%s is more often than every four hours", e)
		default:
			s.days, s.length, longest = (n+23)/24, time.Hour, time.Duration(n)*time.Hour
			s.next = func(t time.Time) time.Time { return t.UTC().Truncate(longest).Add(longest) }
		}
	default:
		c, err := parseCron(e)
		if err != nil {
			return nil, err
		}
		s.next = c.next
		first := c.next(time.Time{})
		s.days = int(math.Ceil(c.next(first).Sub(first).Hours() / 24))
		if longest = day - time.Duration(c.hours[0])*time.Hour; len(c.hours) > 1 {
			s.length, longest = time.Hour, c.gap()
		}
	}
	if r.Duration != "" {
		n, err := strconv.Atoi(strings.TrimSuffix(r.Duration, "h"))
		if err != nil || n < 1 {
			return nil, fmt.Errorf("duration %s is not a number of hours such as 3h", r.Duration)
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

func parseCron(e string) (*cron, error) {
	inner, ok := strings.CutPrefix(e, "cron(")
	inner, ok2 := strings.CutSuffix(inner, ")")
	fields := strings.Fields(inner)
	if !ok || !ok2 || len(fields) != 6 {
		return nil, fmt.Errorf(
			"%s is not rate(N hours), rate(N days) or cron(minutes hours day-of-month month day-of-week year)", e)
	}
	if fields[0] != "0" {
		return nil, fmt.Errorf("%s: the minutes must be 0", e)
	}
	if fields[5] != "*" {
		return nil, fmt.Errorf("%s: the year must be *", e)
	}
	if (fields[2] == "?") == (fields[4] == "?") {
		return nil, fmt.Errorf("%s: either day-of-month or day-of-week must be ?, but not both", e)
	}
	c := &cron{}
	var err error
	if c.hours, err = values(fields[1], 0, 23, nil); err != nil {
		return nil, fmt.Errorf("%s: hours: %w", e, err)
	}
	if c.gap() < 4*time.Hour {
		return nil, fmt.Errorf("%s is more often than every four hours", e)
	}
	if c.months, err = values(fields[3], 1, 12, monthNames); err != nil {
		return nil, fmt.Errorf("%s: month: %w", e, err)
	}
	if c.day, err = days(fields[2], fields[4]); err != nil {
		return nil, fmt.Errorf("%s: day: %w", e, err)
	}
	if c.next(time.Time{}).IsZero() {
		return nil, fmt.Errorf("%s never occurs", e)
	}
	return c, nil
}

// values parses a field: *, numbers or names, ranges, steps, or lists of these.
func values(field string, low, high int, names []string) ([]int, error) {
	number := func(s string) (int, error) {
		if i := slices.Index(names, strings.ToUpper(s)); i >= 0 {
			return i + 1, nil
		}
		n, err := strconv.Atoi(s)
		if err != nil || n < low || n > high {
			return 0, fmt.Errorf("%s is not between %d and %d", s, low, high)
		}
		return n, nil
	}
	var out []int
	for _, part := range strings.Split(field, ",") {
		span, step, stepped := strings.Cut(part, "/")
		by, from, to := 1, low, high
		var err error
		if stepped {
			if by, err = strconv.Atoi(step); err != nil || by < 1 {
				return nil, fmt.Errorf("%s is not a valid step", step)
			}
		}
		first, last, ranged := strings.Cut(span, "-")
		switch {
		case span == "*" || span == "" && stepped:
		case ranged:
			if from, err = number(first); err == nil {
				to, err = number(last)
			}
			if err == nil && from > to {
				err = fmt.Errorf("the range %s runs backwards", span)
			}
		default:
			if from, err = number(span); err == nil && !stepped {
				to = from
			}
		}
		if err != nil {
			return nil, err
		}
		for n := from; n <= to; n += by {
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// days parses day-of-month and day-of-week, one of which is "?". L is the last day of the month or of the week, whose
// first day is Sunday, number 1. 6L or FRIL is the last Friday of the month, and SUN#1 its first Sunday. day-of-month
// also accepts FRIL.
func days(ofMonth, ofWeek string) (func(time.Time) bool, error) {
	nextMonth := func(t time.Time, days int) bool { return t.AddDate(0, 0, days).Month() != t.Month() }
	name, last := strings.CutSuffix(ofMonth, "L")
	switch {
	case ofMonth == "L":
		return func(t time.Time) bool { return nextMonth(t, 1) }, nil
	case last && slices.Contains(dayNames, name):
		ofWeek = ofMonth
	case ofMonth != "?":
		in, err := values(ofMonth, 1, 31, nil)
		return func(t time.Time) bool { return slices.Contains(in, t.Day()) }, err
	case ofWeek == "L":
		ofWeek = "SAT"
	}
	name, last = strings.CutSuffix(ofWeek, "L")
	name, nth, counted := strings.Cut(name, "#")
	in, err := values(name, 1, 7, dayNames)
	n, err2 := strconv.Atoi(nth)
	if err != nil {
		return nil, err
	}
	if (last || counted) && len(in) != 1 || counted && (err2 != nil || last || n < 1 || n > 5) {
		return nil, fmt.Errorf("%s is not a day of the week", ofWeek)
	}
	return func(t time.Time) bool {
		return slices.Contains(in, int(t.Weekday())+1) && (!last || nextMonth(t, 7)) &&
			(!counted || (t.Day()-1)/7+1 == n)
	}, nil
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
		if times, _ := r.Rules.schedule(); times != nil { // the rules were validated before they were stored
			return times.window(base)
		}
	}
	return time.Time{}, time.Time{}
}

// plan sets a secret's next rotation, counted from base: the last rotation or the last value set by hand.
func (s *Sim) plan(sec *secret, base time.Time) {
	r := &sec.Rotation
	r.Open, r.Next = sec.window(base)
	s.arm(sec, r.Open, r.Next, base)
}

// rearm plans the first window after now, because the planned one was missed. NextRotationDate stays
// in the past, as on AWS.
func (s *Sim) rearm(sec *secret) {
	now := s.clock.Now()
	open, end := sec.window(now)
	s.arm(sec, open, end, now)
}

// arm plans a secret's rotation at a time within a window, if there is one. The time depends on the ARN, to spread the
// secrets of one schedule over the window; AWS documents only that it may be any time. It is not before earliest,
// because a window may have been missed.
func (s *Sim) arm(sec *secret, open, end, earliest time.Time) {
	s.unplan(sec)
	if end.IsZero() {
		return
	}
	h := fnv.New64a()
	fmt.Fprint(h, sec.ARN, open.Unix())
	at := open.Add(time.Duration(float64(end.Sub(open)) * float64(h.Sum64()>>11) / (1 << 53)))
	if at.Before(earliest) {
		at = earliest
	}
	sec.Rotation.cancel = s.clock.At(at, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.fallDue(sec, at)
	})
}

// fallDue begins a planned rotation. If a test is running, the end of the test plans the rotation again.
func (s *Sim) fallDue(sec *secret, at time.Time) {
	r := &sec.Rotation
	if s.accounts[sec.Account][sec.place()] != sec || !sec.Deleted.IsZero() || !r.Enabled || r.Running || s.stopped() {
		return
	}
	// An unfinished rotation is retried with the same token.
	token, unfinished := sec.unfinished()
	if !unfinished {
		token = uuid.NewString()
	}
	s.begin(sec, token, false, at)
	s.keep()
}

// unfinished returns the version of an unfinished rotation, if there is one.
func (sec *secret) unfinished() (string, bool) {
	p, ok := sec.Labels[pending]
	return p, ok && p != sec.Labels[current]
}

func (s *Sim) unplan(sec *secret) {
	if sec.Rotation.cancel != nil {
		sec.Rotation.cancel()
		sec.Rotation.cancel = nil
	}
}
