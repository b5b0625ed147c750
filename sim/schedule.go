package sim

import (
	"cmp"
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

// rules say when a secret is rotated.
type rules struct {
	AutomaticallyAfterDays *int64 `min:"1" max:"1000"`
	Duration               string `min:"2" max:"3" pattern:"[0-9]+h"`
	ScheduleExpression     string `min:"1" max:"256" pattern:"[0-9A-Za-z\\(\\)#\\?\\*\\-\\/, ]+"`
	// Derived is AutomaticallyAfterDays as AWS derives it from an expression.
	Derived int64
}

// shown returns the rules as DescribeSecret shows them.
func (r *rules) shown() answer {
	if r == nil {
		return nil
	}
	return answer{"AutomaticallyAfterDays": cmp.Or(r.Derived, valueOf(r.AutomaticallyAfterDays)),
		"Duration": r.Duration, "ScheduleExpression": r.ScheduleExpression}
}

func valueOf(n *int64) int64 {
	if n == nil {
		return 0
	}
	return *n
}

// schedule yields windows in which a secret is rotated, all in UTC.
// Source: https://docs.aws.amazon.com/secretsmanager/latest/userguide/rotate-secrets_schedule.html
type schedule struct {
	hours    int // the interval of a rate in hours, or 0
	days     int // the interval of a rate in days, or 0
	cron     *cron
	duration time.Duration // 0 for the default
}

const day = 24 * time.Hour

var rateForm = regexp.MustCompile(`^rate\((\d+) (hours?|days?)\)$`)

// schedule parses rules; it returns nil if they name no time. Unknown: AWS's texts for a bad
// schedule.
func (r *rules) schedule() (*schedule, error) {
	s := &schedule{}
	if r.Duration != "" {
		n, err := strconv.Atoi(strings.TrimSuffix(r.Duration, "h"))
		if err != nil || n < 1 {
			return nil, fmt.Errorf("duration %s is not a number of hours such as 3h", r.Duration)
		}
		s.duration = time.Duration(n) * time.Hour
	}
	switch e := r.ScheduleExpression; {
	case r.AutomaticallyAfterDays != nil:
		s.days = int(*r.AutomaticallyAfterDays)
	case e == "" && r.Duration != "":
		return nil, fmt.Errorf("a duration needs a schedule")
	case e == "":
		return nil, nil
	case strings.HasPrefix(e, "rate("):
		m := rateForm.FindStringSubmatch(e)
		if m == nil {
			return nil, fmt.Errorf("%s is not rate(N hours) or rate(N days)", e)
		}
		n, err := strconv.Atoi(m[1])
		if err != nil || n < 1 || n > 1000*24 {
			return nil, fmt.Errorf("%s has an invalid interval", e)
		}
		if strings.HasPrefix(m[2], "h") {
			if n < 4 {
				return nil, fmt.Errorf("%s is more often than every four hours", e)
			}
			s.hours = n
		} else {
			s.days = n
		}
	default:
		c, err := parseCron(e)
		if err != nil {
			return nil, err
		}
		s.cron = c
	}
	return s, s.checkDuration()
}

// checkDuration checks that a window ends before the next one or, for a schedule in days, before
// the day ends.
func (s *schedule) checkDuration() error {
	limit := day
	switch {
	case s.hours > 0:
		limit = time.Duration(s.hours) * time.Hour
	case s.cron != nil && len(s.cron.hours) > 1:
		limit = s.cron.gap()
	case s.cron != nil:
		limit = day - time.Duration(s.cron.hours[0])*time.Hour
	}
	if s.duration > limit {
		return fmt.Errorf("a window of %.0f hours would reach beyond its limit of %.0f hours",
			s.duration.Hours(), limit.Hours())
	}
	return nil
}

func midnight(t time.Time) time.Time { return t.UTC().Truncate(day) }

// window returns the first window that opens after base. A rate in days counts from the midnight
// before base. Its window, and that of a cron expression with one hour per day, lasts to the end of
// the day; other windows last an hour. Unknown: from when AWS counts a rate in hours; the simulator
// counts from the zero time, which keeps the windows exactly one interval apart, and at midnight if
// the rate divides a day.
func (s *schedule) window(base time.Time) (open, end time.Time) {
	base = base.UTC()
	switch {
	case s.days > 0:
		open = midnight(base).AddDate(0, 0, s.days)
	case s.hours > 0:
		step := time.Duration(s.hours) * time.Hour
		open = base.Truncate(step).Add(step)
	default:
		open = s.cron.next(base)
	}
	switch {
	case s.duration > 0:
		end = open.Add(s.duration)
	case s.hours > 0 || s.cron != nil && len(s.cron.hours) > 1:
		end = open.Add(time.Hour)
	default:
		end = midnight(open).Add(day - time.Second)
	}
	return open, end
}

// derived returns AutomaticallyAfterDays of an expression. Unknown: how AWS rounds; the simulator
// rounds up to whole days.
func (s *schedule) derived(now time.Time) int64 {
	switch {
	case s.days > 0:
		return int64(s.days)
	case s.hours > 0:
		return int64((s.hours + 23) / 24)
	}
	first := s.cron.next(now)
	return max(1, int64(math.Ceil(s.cron.next(first).Sub(first).Hours()/24)))
}

// cron is a cron expression of Secrets Manager, without minutes and years.
type cron struct {
	hours  []int // sorted
	months [13]bool
	// A day matches one of the two; the other is nil.
	monthDays func(time.Time) bool
	weekDays  func(time.Time) bool
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
		return nil, fmt.Errorf("%s is not cron(minutes hours day-of-month month day-of-week year)", e)
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
	hours, err := values(fields[1], 0, 23, nil)
	if err != nil {
		return nil, fmt.Errorf("%s: hours: %w", e, err)
	}
	c.hours = hours
	if c.gap() < 4*time.Hour {
		return nil, fmt.Errorf("%s is more often than every four hours", e)
	}
	months, err := values(fields[3], 1, 12, monthNames)
	if err != nil {
		return nil, fmt.Errorf("%s: month: %w", e, err)
	}
	for _, m := range months {
		c.months[m] = true
	}
	if fields[2] != "?" {
		c.monthDays, err = monthDays(fields[2])
	} else {
		c.weekDays, err = weekDays(fields[4])
	}
	if err != nil {
		return nil, fmt.Errorf("%s: day: %w", e, err)
	}
	if c.next(time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)).IsZero() {
		return nil, fmt.Errorf("%s never occurs", e)
	}
	return c, nil
}

// values parses a field: *, numbers or names, ranges, steps, lists of these.
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

func lastOfMonth(t time.Time) int {
	return time.Date(t.Year(), t.Month()+1, 0, 0, 0, 0, 0, time.UTC).Day()
}

// monthDays parses day-of-month: L is the last day, SUNL the last Sunday.
func monthDays(field string) (func(time.Time) bool, error) {
	if field == "L" {
		return func(t time.Time) bool { return t.Day() == lastOfMonth(t) }, nil
	}
	if name, ok := strings.CutSuffix(field, "L"); ok {
		if i := slices.Index(dayNames, name); i >= 0 {
			return lastWeekday(time.Weekday(i)), nil
		}
	}
	days, err := values(field, 1, 31, nil)
	return func(t time.Time) bool { return slices.Contains(days, t.Day()) }, err
}

func lastWeekday(d time.Weekday) func(time.Time) bool {
	return func(t time.Time) bool { return t.Weekday() == d && t.Day()+7 > lastOfMonth(t) }
}

// weekDays parses day-of-week, where 1 is Sunday: L is Saturday, 6L the last Friday of the month,
// SUN#1 its first Sunday.
func weekDays(field string) (func(time.Time) bool, error) {
	if field == "L" {
		return func(t time.Time) bool { return t.Weekday() == time.Saturday }, nil
	}
	if name, ok := strings.CutSuffix(field, "L"); ok {
		d, err := values(name, 1, 7, dayNames)
		if err != nil || len(d) != 1 {
			return nil, fmt.Errorf("%s is not a day", field)
		}
		return lastWeekday(time.Weekday(d[0] - 1)), nil
	}
	if name, nth, ok := strings.Cut(field, "#"); ok {
		d, err := values(name, 1, 7, dayNames)
		n, err2 := strconv.Atoi(nth)
		if err != nil || err2 != nil || len(d) != 1 || n < 1 || n > 5 {
			return nil, fmt.Errorf("%s is not a day of the week", field)
		}
		return func(t time.Time) bool { return int(t.Weekday()) == d[0]-1 && (t.Day()-1)/7+1 == n }, nil
	}
	days, err := values(field, 1, 7, dayNames)
	return func(t time.Time) bool { return slices.Contains(days, int(t.Weekday())+1) }, err
}

// gap returns the shortest time between two hours of a day.
func (c *cron) gap() time.Duration {
	least := 24
	for i, h := range c.hours {
		if i > 0 {
			least = min(least, h-c.hours[i-1])
		}
	}
	if len(c.hours) > 1 {
		least = min(least, c.hours[0]+24-c.hours[len(c.hours)-1])
	}
	return time.Duration(least) * time.Hour
}

// next returns the first time after t, or the zero time if there is none within 28 years, after
// which weekdays and dates repeat.
func (c *cron) next(t time.Time) time.Time {
	for d := midnight(t); d.Before(t.AddDate(28, 0, 0)); d = d.AddDate(0, 0, 1) {
		if !c.months[d.Month()] || c.monthDays != nil && !c.monthDays(d) || c.weekDays != nil && !c.weekDays(d) {
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

// plan sets a secret's next rotation, counted from base: the last rotation or the last value set by
// hand.
func (s *Sim) plan(sec *secret, base time.Time) {
	s.unplan(sec)
	r := &sec.Rotation
	r.Next = time.Time{}
	if !r.Enabled || r.Rules == nil || r.Function == "" {
		return
	}
	// The rules were validated before they were stored.
	if times, _ := r.Rules.schedule(); times != nil {
		r.Open, r.Next = times.window(base)
		s.arm(sec, r.Open, r.Next, base)
	}
}

// arm plans a secret's rotation within a window, at a time derived from its ARN, which spreads the
// secrets of one schedule over the window. AWS documents only that it may be any time. It does not
// start before earliest, because a window may have been missed.
func (s *Sim) arm(sec *secret, open, end, earliest time.Time) {
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

// fallDue begins the rotation planned for a time. If a test is running, it waits for its end.
func (s *Sim) fallDue(sec *secret, at time.Time) {
	r := &sec.Rotation
	if s.accounts[sec.Account][sec.place()] != sec || !sec.Deleted.IsZero() || !r.Enabled || s.stopped() {
		return
	}
	r.due = time.Time{}
	if r.Running {
		r.due = at
		return
	}
	// An unfinished rotation is retried with its own token.
	token, unfinished := sec.unfinished()
	if !unfinished {
		token = uuid.NewString()
	}
	s.begin(sec, token, false, at)
	s.keep()
}

// unfinished returns the version of an unfinished rotation.
func (sec *secret) unfinished() (string, bool) {
	p, ok := sec.Labels[pending]
	return p, ok && p != sec.Labels[current]
}

// rearm plans the first window after now, because the planned one was missed.
func (s *Sim) rearm(sec *secret) {
	s.unplan(sec)
	if r := &sec.Rotation; r.Enabled && r.Rules != nil && r.Function != "" {
		if times, _ := r.Rules.schedule(); times != nil {
			now := s.clock.Now()
			open, end := times.window(now)
			s.arm(sec, open, end, now)
		}
	}
}

func (s *Sim) unplan(sec *secret) {
	sec.Rotation.due = time.Time{}
	if sec.Rotation.cancel != nil {
		sec.Rotation.cancel()
		sec.Rotation.cancel = nil
	}
}
