package output

import (
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/dibber-project/dibber/pkg/layout"
)

// RecordLabel is the label of an OCI image that holds its Record as JSON.
const RecordLabel = "io.github.dibber-project.disk"

// recordVersion grows when what a Record means changes.
const recordVersion = 1

// Record is what the disks of an image were made by, besides its files. An OCI
// image carries it, so that the same disks can be made of the image again.
type Record struct {
	Version     int    `json:"version"`
	Config      string `json:"config"` // the block device configuration
	FSType      string `json:"fs_type,omitempty"`
	RootLabel   string `json:"root_label,omitempty"`
	SectorSize  int64  `json:"sector_size,omitempty"`
	RootOptions string `json:"root_options,omitempty"` // of mkfs, for the root file system
	Seed        string `json:"seed"`                   // of every UUID, 16 bytes in hex
	Size        int64  `json:"size"`                   // bytes of the main disk
	Exact       bool   `json:"exact,omitempty"`
	Time        int64  `json:"time"`
	BIOS        bool   `json:"bios,omitempty"`
}

// String gives the record as a label's value.
func (r Record) String() string {
	r.Version = recordVersion
	text, err := json.Marshal(r)
	if err != nil {
		return "" // there is nothing in it that JSON cannot hold
	}
	return string(text)
}

// ParseRecord reads a label's value.
func ParseRecord(text string) (Record, error) {
	var r Record
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		return r, fmt.Errorf("cannot read the image's label %s: %w", RecordLabel, err)
	}
	if r.Version != recordVersion {
		return r, fmt.Errorf("cannot read the image's label %s: its version is %d, and %d is known", RecordLabel, r.Version, recordVersion)
	}
	return r, nil
}

// Wanted gives what the record asks for. name is what errors call the block
// device configuration; adjust, which may be nil, may change labels, and set
// UUIDs, before what has no UUID gets one.
func (r Record) Wanted(name string, adjust func(*layout.Plan)) (Wanted, error) {
	seed, err := hex.DecodeString(r.Seed)
	if err != nil || len(seed) != 16 {
		return Wanted{}, fmt.Errorf("cannot use %s: the seed %q is not 16 bytes in hex", name, r.Seed)
	}
	plan, err := layout.Read(name, []byte(r.Config), layout.Defaults{FSType: r.FSType, RootLabel: r.RootLabel, SectorSize: r.SectorSize})
	if err != nil {
		return Wanted{}, err
	}
	id := func(purpose string) [16]byte { return layout.NameUUID([16]byte(seed), purpose) }
	if adjust != nil {
		adjust(plan)
	}
	plan.Identify(id)
	if r.RootOptions != "" {
		plan.SetRootOptions(r.RootOptions)
	}
	return Wanted{Plan: plan, Size: r.Size, Exact: r.Exact, Time: r.Time, BIOS: r.BIOS, ID: id}, CheckPlan(plan)
}
