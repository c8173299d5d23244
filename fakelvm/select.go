// SPDX-License-Identifier: Apache-2.0

package fakelvm

import (
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// selector is a parsed --select: a row matches or it does not.
type selector struct {
	match    func(h *Host, r row) bool
	sections map[string]bool // sections whose fields it looks at
}

func (s *selector) matches(h *Host, r row) bool {
	if r.lv != nil && r.seg == nil && len(r.lv.segs) > 0 {
		r.seg = &r.lv.segs[0]
	}
	return s.match(h, r)
}

type condition = func(h *Host, r row) bool

// selection parses by libdm's grammar (libdm-report.c): || and # bind less than
// && and the comma; ! only stands before a parenthesis.
type selection struct {
	c       *command
	section string
	rest    string
	sel     *selector
	failed  bool
}

// parseSelection parses a selection for a report of that section and prints, as
// lvm does, what is wrong with it.
func (c *command) parseSelection(text, section string) (*selector, bool) {
	p := &selection{c: c, section: section, rest: text, sel: &selector{sections: map[string]bool{}}}
	if trimmed := strings.TrimSpace(text); trimmed == "" || trimmed == "all" {
		p.sel.match = func(*Host, row) bool { return true }
		return p.sel, true
	}
	p.sel.match = p.or()
	p.space()
	if !p.failed && p.rest != "" {
		p.syntax("Expecting logical operator")
	}
	return p.sel, !p.failed
}

// syntax reports an error at what is left of the text.
func (p *selection) syntax(message string) {
	if p.failed {
		return
	}
	p.failed = true
	p.c.fail("%s", message)
	p.c.fail("Selection syntax error at '%s'.", p.rest)
	p.c.fail("Use 'help' for selection to get more help.")
}

func (p *selection) space() { p.rest = strings.TrimLeft(p.rest, " \t\n") }

// take consumes one of the tokens.
func (p *selection) take(tokens ...string) bool {
	p.space()
	for _, t := range tokens {
		if strings.HasPrefix(p.rest, t) {
			p.rest = p.rest[len(t):]
			return true
		}
	}
	return false
}

func (p *selection) or() condition {
	left := p.and()
	for !p.failed && p.take("||", "#") {
		a, b := left, p.and()
		left = func(h *Host, r row) bool { return a(h, r) || b(h, r) }
	}
	return left
}

func (p *selection) and() condition {
	left := p.term()
	for !p.failed && p.take("&&", ",") {
		a, b := left, p.term()
		left = func(h *Host, r row) bool { return a(h, r) && b(h, r) }
	}
	return left
}

func (p *selection) term() condition {
	negate := false
	if p.take("!") {
		if !strings.HasPrefix(p.rest, "(") {
			p.failed = true
			p.c.fail("Syntax error: left parenthesis expected at '%s'", p.rest)
			return nil
		}
		negate = true
	}
	if p.take("(") {
		inner := p.or()
		if !p.failed && !p.take(")") {
			p.failed = true
			p.c.fail("Syntax error: right parenthesis expected at '%s'", p.rest)
		}
		if negate {
			return func(h *Host, r row) bool { return !inner(h, r) }
		}
		return inner
	}
	return p.comparison()
}

// operators longest first.
var operators = []string{"=~", "!~", "!=", ">=", "<=", "=", ">", "<", "since", "after", "until", "before"}

func (p *selection) comparison() condition {
	p.space()
	at := p.rest
	end := strings.IndexFunc(p.rest, func(r rune) bool {
		return r != '_' && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9')
	})
	if end < 0 {
		end = len(p.rest)
	}
	name := p.rest[:end]
	if name == "" {
		p.syntax("Expecting field name")
		return nil
	}
	f, ok := lookField(name, p.section)
	if !ok {
		p.syntax("Unrecognised selection field: " + name)
		return nil
	}
	p.sel.sections[f.section] = true
	p.rest = p.rest[end:]
	p.space()
	op := ""
	for _, o := range operators {
		if strings.HasPrefix(p.rest, o) {
			op = o
			break
		}
	}
	if op == "" {
		left := p.rest
		p.rest = at
		p.syntax("Unrecognised comparison operator: " + left)
		return nil
	}
	p.rest = p.rest[len(op):]
	p.space()
	switch op {
	case "since":
		op = ">="
	case "after":
		op = ">"
	case "until":
		op = "<="
	case "before":
		op = "<"
	}
	ordered := strings.ContainsAny(op, "<>")
	switch {
	case op == "=~" || op == "!~":
		return p.regex(f, op == "!~", at)
	case ordered && (f.typ == typeString || f.typ == typeList):
		p.rest = at
		p.syntax("Operator can be used only with number, size, time or percent fields: " + at)
		return nil
	}
	switch f.typ {
	case typeString:
		want := p.word()
		if strings.HasSuffix(f.name, "_permissions") {
			switch want {
			case "rw", "read-write":
				want = "writeable"
			case "r", "ro":
				want = "read-only"
			}
		}
		return func(h *Host, r row) bool { return (f.get(h, r).text == want) == (op == "=") }
	case typeList:
		return p.listComparison(f, op == "!=")
	case typeTime:
		return p.timeComparison(f, op, at)
	}
	return p.numberComparison(f, op, at)
}

// word reads a value: quoted, or up to a space, an operator or a parenthesis.
func (p *selection) word() string {
	if p.rest != "" && (p.rest[0] == '\'' || p.rest[0] == '"') {
		q := p.rest[:1]
		s, after, found := strings.Cut(p.rest[1:], q)
		if !found {
			p.syntax("Missing end quote.")
			return ""
		}
		p.rest = after
		return s
	}
	end := len(p.rest)
	for i := range len(p.rest) {
		switch b := p.rest[i]; {
		case b == ' ' || b == '\t' || b == ',' || b == '#' || b == ')':
		case (b == '&' || b == '|') && i+1 < len(p.rest) && p.rest[i+1] == b:
		default:
			continue
		}
		end = i
		break
	}
	s := p.rest[:end]
	p.rest = p.rest[end:]
	return s
}

func (p *selection) regex(f field, negate bool, at string) condition {
	if f.typ != typeString && f.typ != typeList {
		p.failed = true
		p.c.fail("dm_report: incompatible comparison type for selection field %s", f.name)
		return nil
	}
	var pattern string
	closing := map[byte]string{'(': ")", '[': "]", '{': "}"}
	if p.rest != "" && closing[p.rest[0]] != "" {
		inner, after, found := strings.Cut(p.rest[1:], closing[p.rest[0]])
		if !found {
			p.failed = true
			p.c.fail("Missing end quote.")
			p.c.fail("Failed to parse regex value for selection field %s.", f.name)
			p.c.fail("Selection syntax error at '%s'.", at)
			p.c.fail("Use 'help' for selection to get more help.")
			return nil
		}
		pattern, p.rest = inner, after
	} else {
		pattern = p.word()
	}
	re, err := regexp.Compile(pattern)
	if err != nil || f.typ == typeList {
		p.failed = true
		p.c.fail("dm_report: incompatible comparison type for selection field %s", f.name)
		return nil
	}
	return func(h *Host, r row) bool { return re.MatchString(f.get(h, r).text) != negate }
}

// listComparison: a word or {…} asks for a subset, […] for the whole list; the
// items are joined by "all of" (, &&) or "any of" (|| #).
func (p *selection) listComparison(f field, negate bool) condition {
	var items []string
	any, whole := false, false
	if p.rest != "" && (p.rest[0] == '[' || p.rest[0] == '{') {
		whole = p.rest[0] == '['
		closing := map[byte]string{'[': "]", '{': "}"}[p.rest[0]]
		inner, after, found := strings.Cut(p.rest[1:], closing)
		if !found {
			p.syntax("Failed to parse string list value for selection field " + f.name + ".")
			return nil
		}
		p.rest = after
		any = strings.Contains(inner, "||") || strings.Contains(inner, "#")
		for _, s := range strings.FieldsFunc(strings.NewReplacer("||", ",", "&&", ",", "#", ",").Replace(inner), func(r rune) bool { return r == ',' }) {
			if s = strings.Trim(strings.TrimSpace(s), `'"`); s != "" {
				items = append(items, s)
			}
		}
		if len(items) == 0 {
			whole = true
		}
	} else {
		s := p.word()
		if s != "" {
			items = append(items, s)
		} else {
			whole = true // "": the empty list
		}
	}
	return func(h *Host, r row) bool {
		have := f.get(h, r).list
		n := 0
		for _, s := range items {
			if slices.Contains(have, s) {
				n++
			}
		}
		ok := n == len(items)
		switch {
		case any:
			ok = n > 0
		case whole:
			ok = ok && len(have) == len(items)
		}
		return ok != negate
	}
}

// numberComparison compares numbers, sizes, percentages and binary fields. A
// number that there is none of matches only the word undef.
func (p *selection) numberComparison(f field, op, at string) condition {
	text := p.word()
	var want float64
	ok := true
	undef := false
	switch {
	case f.typ != typePercent && slices.Contains([]string{"-1", "unknown", "undefined", "undef"}, text):
		undef = true
	case f.typ == typeBinary && (text == "" || text == f.word):
		want = float64(digit(text != ""))
	case f.typ == typeSize:
		var n int64
		var problem string
		if n, _, problem = parseSize(text); problem != "" {
			v, err := strconv.ParseFloat(strings.TrimRight(text, "bB"), 64)
			n, ok = int64(v), err == nil
		}
		want = float64(n)
	default:
		v, err := strconv.ParseFloat(strings.TrimSuffix(text, "%"), 64)
		want, ok = v, err == nil && v >= 0
	}
	if !ok {
		p.rest = at
		p.syntax("Failed to parse numeric value for selection field " + f.name + ".")
		return nil
	}
	return func(h *Host, r row) bool {
		v := f.get(h, r)
		if v.undef || undef {
			return v.undef == undef && op == "=" || v.undef != undef && op == "!="
		}
		return compare(v.num, op, want)
	}
}

func compare(a float64, op string, b float64) bool {
	equal := math.Abs(a-b) < 1e-9
	switch op {
	case "=":
		return equal
	case "!=":
		return !equal
	case ">":
		return a > b && !equal
	case ">=":
		return a >= b || equal
	case "<":
		return a < b && !equal
	}
	return a <= b || equal
}

func (p *selection) timeComparison(f field, op, at string) condition {
	text := p.word()
	var want int64
	parsed := false
	if epoch, ok := strings.CutPrefix(text, "@"); ok {
		n, err := strconv.ParseInt(epoch, 10, 64)
		want, parsed = n, err == nil
	}
	for _, layout := range []string{"2006-01-02 15:04:05 -0700", "2006-01-02 15:04:05", "2006-01-02 15:04", "2006-01-02"} {
		if t, err := time.Parse(layout, text); err == nil {
			want, parsed = t.Unix(), true
			break
		}
	}
	if !parsed {
		p.rest = at
		p.syntax("Failed to parse time value for selection field " + f.name + ".")
		return nil
	}
	return func(h *Host, r row) bool { return compare(f.get(h, r).num, op, float64(want)) }
}
