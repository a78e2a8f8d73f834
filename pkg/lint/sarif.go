package lint

import (
	"encoding/json"
	"path/filepath"
	"slices"
)

// SARIF gives the findings, and what needs root, in the Static Analysis Results
// Interchange Format 2.1.0 (OASIS), which forges show beside the lines of a
// change. What dibber answers itself is not in it.
func (r *Report) SARIF(version string) ([]byte, error) {
	results := []sarifResult{}
	var checks []string
	add := func(check, level, file string, line int, message string) {
		results = append(results, sarifResult{
			RuleID: check, Level: level, Message: sarifText{message},
			Locations: []sarifLocation{placeInFile(file, line)},
		})
		if !slices.Contains(checks, check) {
			checks = append(checks, check)
		}
	}
	for _, f := range r.Findings {
		add(f.Check, string(f.Level), f.File, f.Line, f.Message)
	}
	for _, e := range r.Elements {
		for _, u := range e.Uses {
			if u.Kind == NeedsRoot {
				add(string(u.Kind), "note", u.File, u.Line, u.What+": "+u.Mend)
			}
		}
	}
	driver := sarifDriver{Name: "dibber lint", Version: version, Rules: []sarifRule{}}
	slices.Sort(checks)
	for _, c := range checks {
		driver.Rules = append(driver.Rules, sarifRule{ID: c})
	}
	return json.MarshalIndent(sarifLog{
		Schema: "https://json.schemastore.org/sarif-2.1.0.json", Version: "2.1.0",
		Runs: []sarifRun{{Tool: sarifTool{Driver: driver}, Results: results}},
	}, "", "  ")
}

func placeInFile(file string, line int) sarifLocation {
	l := sarifLocation{}
	l.Physical.Artifact.URI = filepath.ToSlash(file)
	if line > 0 {
		l.Physical.Region = &sarifRegion{StartLine: line}
	}
	return l
}

type sarifLog struct {
	Schema  string     `json:"$schema"`
	Version string     `json:"version"`
	Runs    []sarifRun `json:"runs"`
}

type sarifRun struct {
	Tool    sarifTool     `json:"tool"`
	Results []sarifResult `json:"results"`
}

type sarifTool struct {
	Driver sarifDriver `json:"driver"`
}

type sarifDriver struct {
	Name    string      `json:"name"`
	Version string      `json:"version"`
	Rules   []sarifRule `json:"rules"`
}

type sarifRule struct {
	ID string `json:"id"`
}

type sarifResult struct {
	RuleID    string          `json:"ruleId"`
	Level     string          `json:"level"`
	Message   sarifText       `json:"message"`
	Locations []sarifLocation `json:"locations"`
}

type sarifText struct {
	Text string `json:"text"`
}

type sarifLocation struct {
	Physical struct {
		Artifact struct {
			URI string `json:"uri"`
		} `json:"artifactLocation"`
		Region *sarifRegion `json:"region,omitempty"`
	} `json:"physicalLocation"`
}

type sarifRegion struct {
	StartLine int `json:"startLine"`
}
