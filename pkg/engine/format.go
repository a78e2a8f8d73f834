package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"text/template"
	"time"
)

// print writes one value in the form of --format: a template, or json.
func (c *Command) print(format string, value any) error {
	if format == "json" {
		format = "{{json .}}"
	}
	t, err := parseTemplate(format)
	if err != nil {
		return err
	}
	if err := t.Execute(c.Stdout, value); err != nil {
		return fmt.Errorf("cannot print by --format: %w", strip(err))
	}
	_, err = fmt.Fprintln(c.Stdout)
	return err
}

// strip takes the engine's own words off a template's error.
func strip(err error) error {
	var exec template.ExecError
	if errors.As(err, &exec) {
		return exec.Err
	}
	return err
}

func parseTemplate(format string) (*template.Template, error) {
	asJSON := func(v any) (string, error) {
		text, err := json.Marshal(v)
		return string(text), err
	}
	words := func(sep string, list []string) string { return strings.Join(list, sep) }
	t, err := template.New("--format").Funcs(template.FuncMap{
		"json":  asJSON,
		"join":  func(list []string, sep string) string { return words(sep, list) },
		"split": strings.Split, "lower": strings.ToLower, "upper": strings.ToUpper, "title": strings.ToTitle,
		"truncate": func(s string, n int) string { return s[:min(n, len(s))] },
	}).Parse(unescape(format))
	if err != nil {
		return nil, usagef("cannot read --format %q: %w", format, err)
	}
	return t, nil
}

// unescape turns the \t and \n that shells leave into the characters.
func unescape(format string) string {
	return strings.NewReplacer(`\t`, "\t", `\n`, "\n").Replace(format)
}

// column is one of a table.
type column struct{ head, template string }

// table prints rows as a table, or by a format; heads are shown unless the
// format does not begin with "table".
func table[T any](c *Command, format string, columns []column, rows []T) error {
	if format == "json" && c.podman() {
		if rows == nil {
			rows = []T{}
		}
		text, err := json.MarshalIndent(rows, "", "    ")
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(c.Stdout, "%s\n", text)
		return err
	}
	if format == "json" {
		format = "{{json .}}"
	}
	heads := ""
	if own, isTable := strings.CutPrefix(format, "table"); format == "" || isTable {
		format, heads = tableFormat(strings.TrimSpace(own), columns)
	}
	t, err := parseTemplate(format)
	if err != nil {
		return err
	}
	w := io.Writer(c.Stdout)
	if heads != "" {
		tabs := tabwriter.NewWriter(c.Stdout, 0, 0, 3, ' ', 0)
		defer tabs.Flush()
		w = tabs
		fmt.Fprintln(w, heads)
	}
	for _, row := range rows {
		if err := t.Execute(w, row); err != nil {
			return fmt.Errorf("cannot print by --format: %w", strip(err))
		}
		fmt.Fprintln(w)
	}
	return nil
}

// tableFormat gives the template of a row and the heads over it.
func tableFormat(own string, columns []column) (format, heads string) {
	if own != "" {
		heads = unescape(own)
		for _, col := range columns {
			heads = strings.ReplaceAll(heads, "{{"+col.template+"}}", col.head)
		}
		return own, heads
	}
	var templates, names []string
	for _, col := range columns {
		templates = append(templates, "{{"+col.template+"}}")
		names = append(names, col.head)
	}
	return strings.Join(templates, "\t"), strings.Join(names, "\t")
}

// ago says how long ago a time is, as docker does.
func ago(now, then time.Time) string {
	d := now.Sub(then)
	for _, unit := range []struct {
		name string
		size time.Duration
	}{{"year", 365 * 24 * time.Hour}, {"month", 30 * 24 * time.Hour}, {"week", 7 * 24 * time.Hour}, {"day", 24 * time.Hour}, {"hour", time.Hour}, {"minute", time.Minute}, {"second", time.Second}} {
		if n := int64(d / unit.size); n == 1 {
			return "1 " + unit.name
		} else if n > 1 {
			return fmt.Sprintf("%d %ss", n, unit.name)
		}
	}
	return "Less than a second"
}

// size writes bytes as docker does, three digits and a unit of a thousand.
func size(n int64) string {
	f := float64(n)
	units := []string{"B", "kB", "MB", "GB", "TB"}
	for f >= 1000 && len(units) > 1 {
		f, units = f/1000, units[1:]
	}
	return fmt.Sprintf("%.3g%s", f, units[0])
}

func short(id string) string { return id[:min(12, len(id))] }
