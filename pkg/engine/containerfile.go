package engine

import (
	"maps"
	"runtime"
	"strconv"
	"strings"
)

// Base is an image that a Containerfile needs.
type Base struct {
	Name     string
	Platform Platform
	Line     int
}

// BaseOptions are those of build that change which images are needed.
type BaseOptions struct {
	Args     map[string]string
	From     string
	Target   string // the last stage that counts
	Platform Platform
}

// Bases lists the images that a Containerfile names in FROM, COPY --from and RUN
// --mount=from=, other stages left away, each once. It reads no more of the file
// than that: what is wrong in it is for the build to say.
func Bases(text string, o BaseOptions) []Base {
	s := &scanner{options: o, args: platformArgs(o.Platform), stages: map[string]bool{}, seen: map[Base]bool{}}
	s.lines(text)
	return s.found
}

// platformArgs are the arguments that every Containerfile has.
func platformArgs(p Platform) map[string]string {
	if p.Arch == "" {
		p.Arch = runtime.GOARCH
	}
	name := "linux/" + p.Arch
	if p.Variant != "" {
		name += "/" + p.Variant
	}
	return map[string]string{
		"TARGETPLATFORM": name, "TARGETOS": "linux", "TARGETARCH": p.Arch, "TARGETVARIANT": p.Variant,
		"BUILDPLATFORM": "linux/" + runtime.GOARCH, "BUILDOS": "linux", "BUILDARCH": runtime.GOARCH, "BUILDVARIANT": "",
	}
}

// scanner goes through the instructions of a Containerfile.
type scanner struct {
	options BaseOptions
	args    map[string]string // of before the first FROM
	local   map[string]string // of the stage
	stages  map[string]bool   // names and numbers of the stages so far
	count   int
	beyond  bool // the stage comes after the target
	found   []Base
	seen    map[Base]bool // without their lines
}

// lines cuts the text into instructions: continued lines joined, comments and
// here-documents passed over.
func (s *scanner) lines(text string) {
	escape := byte('\\')
	var instruction strings.Builder
	begun := 0
	var heredocs []string
	directives := true
	for i, raw := range strings.Split(text, "\n") {
		raw = strings.TrimSuffix(raw, "\r")
		if len(heredocs) > 0 {
			if strings.TrimLeft(raw, "\t") == heredocs[0] {
				heredocs = heredocs[1:]
			}
			continue
		}
		trimmed := strings.TrimSpace(raw)
		if comment, ok := strings.CutPrefix(trimmed, "#"); ok {
			key, value, _ := strings.Cut(comment, "=")
			if directives && strings.EqualFold(strings.TrimSpace(key), "escape") && strings.TrimSpace(value) == "`" {
				escape = '`'
			}
			continue
		}
		if trimmed == "" {
			continue
		}
		directives = false
		if instruction.Len() == 0 {
			begun = i + 1
		}
		if trimmed[len(trimmed)-1] == escape {
			instruction.WriteString(trimmed[:len(trimmed)-1] + " ")
			continue
		}
		instruction.WriteString(trimmed)
		s.instruction(instruction.String(), begun)
		heredocs = heredocWords(instruction.String())
		instruction.Reset()
	}
	if instruction.Len() > 0 {
		s.instruction(instruction.String(), begun)
	}
}

// heredocWords are the words that end the here-documents which an instruction
// begins.
func heredocWords(instruction string) []string {
	verb, _, _ := strings.Cut(instruction, " ")
	switch strings.ToUpper(verb) {
	case "RUN", "COPY", "ADD":
	default:
		return nil
	}
	var out []string
	for word := range strings.FieldsSeq(instruction) {
		name, ok := strings.CutPrefix(word, "<<")
		name = strings.Trim(strings.TrimPrefix(name, "-"), `"'`)
		if ok && name != "" && !strings.ContainsAny(name, "<$(&;|") {
			out = append(out, name)
		}
	}
	return out
}

func (s *scanner) instruction(text string, line int) {
	words := strings.Fields(text)
	if len(words) == 0 {
		return
	}
	switch strings.ToUpper(words[0]) {
	case "ARG":
		s.arg(words[1:])
	case "FROM":
		s.from(words[1:], line)
	case "COPY", "ADD":
		for _, w := range words[1:] {
			if name, ok := strings.CutPrefix(w, "--from="); ok {
				s.need(s.expand(name, s.local), s.options.Platform, line)
			}
		}
	case "RUN":
		for _, w := range words[1:] {
			mount, ok := strings.CutPrefix(w, "--mount=")
			if !ok {
				continue
			}
			for part := range strings.SplitSeq(mount, ",") {
				if name, ok := strings.CutPrefix(part, "from="); ok {
					s.need(s.expand(name, s.local), s.options.Platform, line)
				}
			}
		}
	}
}

func (s *scanner) arg(words []string) {
	for _, w := range words {
		name, value, given := strings.Cut(w, "=")
		into := s.local
		if s.count == 0 {
			into = s.args
		}
		value = s.expand(strings.Trim(value, `"'`), into)
		if own, ok := s.options.Args[name]; ok {
			value, given = own, true
		}
		if !given {
			value, given = s.args[name], s.count > 0
		}
		if given {
			into[name] = value
		}
	}
}

func (s *scanner) from(words []string, line int) {
	platform := s.options.Platform
	for len(words) > 0 && strings.HasPrefix(words[0], "--") {
		if text, ok := strings.CutPrefix(words[0], "--platform="); ok {
			parts := append(strings.Split(s.expand(text, s.args), "/"), "", "")
			platform = Platform{Arch: parts[1], Variant: parts[2]}
		}
		words = words[1:]
	}
	if len(words) == 0 {
		return
	}
	s.beyond = s.beyond || s.options.Target != "" && s.stages[strings.ToLower(s.options.Target)]
	name := s.expand(strings.Trim(words[0], `"'`), s.args)
	if s.count == 0 && s.options.From != "" {
		name = s.options.From
	}
	s.need(name, platform, line)
	s.stages[strconv.Itoa(s.count)] = true
	if len(words) == 3 && strings.EqualFold(words[1], "as") {
		s.stages[strings.ToLower(words[2])] = true
	}
	s.count++
	s.local = maps.Clone(platformArgs(s.options.Platform))
}

// need notes an image, if it is none of the stages.
func (s *scanner) need(name string, p Platform, line int) {
	if s.beyond || name == "" || name == "scratch" || s.stages[strings.ToLower(name)] {
		return
	}
	once := Base{Name: name, Platform: p}
	if s.seen[once] {
		return
	}
	s.seen[once] = true
	once.Line = line
	s.found = append(s.found, once)
}

// expand puts in the values of $NAME, ${NAME}, ${NAME:-word} and ${NAME:+word}.
func (s *scanner) expand(text string, vars map[string]string) string {
	var out strings.Builder
	for text != "" {
		before, after, found := strings.Cut(text, "$")
		out.WriteString(before)
		if !found {
			break
		}
		var name, otherwise, instead string
		if inner, ok := strings.CutPrefix(after, "{"); ok {
			inner, text, ok = strings.Cut(inner, "}")
			if !ok {
				break
			}
			name = inner
			if n, word, ok := strings.Cut(inner, ":-"); ok {
				name, otherwise = n, word
			} else if n, word, ok := strings.Cut(inner, ":+"); ok {
				name, instead = n, word
			}
		} else {
			end := strings.IndexFunc(after, func(r rune) bool { return r != '_' && !isAlphanumeric(r) })
			if end < 0 {
				end = len(after)
			}
			name, text = after[:end], after[end:]
		}
		switch value := vars[name]; {
		case instead != "" && value != "":
			out.WriteString(instead)
		case instead != "":
		case value == "":
			out.WriteString(otherwise)
		default:
			out.WriteString(value)
		}
	}
	return out.String()
}

func isAlphanumeric(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
}
