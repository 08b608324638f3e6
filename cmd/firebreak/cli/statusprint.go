package cli

import (
	"strconv"
	"strings"
)

func (e *env) printStatus(all []nodeStatus) error {
	switch e.format {
	case formatJSON:
		return e.json(struct {
			Nodes []nodeStatus `json:"nodes"`
		}{all})
	case formatNDJSON:
		for _, s := range all {
			if err := e.json(s); err != nil {
				return err
			}
		}
		return nil
	}
	var rows [][]string
	for _, s := range all {
		rows = append(rows, s.row())
	}
	if err := e.table([]string{"ROLE", "REGION", "NAME", "ADDRESS", "STATE", "MACHINES", "ROWS", "GAPS", "WITHHELD", "ROOT"}, rows); err != nil {
		return err
	}
	for _, s := range all {
		for _, a := range s.Alarms {
			e.note("%s %s: alarm: %s", s.Role, s.Name, a)
		}
		e.noteSwitches(s)
	}
	return nil
}

// noteSwitches says which switches are set, and by what. A region node alarms
// its own.
func (e *env) noteSwitches(s nodeStatus) {
	w := s.Switches
	if w == nil || s.Role == "region" {
		return
	}
	if w.FreezeEgress {
		e.note("%s %s: egress is frozen by %s", s.Role, s.Name, w.Source)
	}
	if len(w.DenyNode) > 0 {
		e.note("%s %s: nodes %s are denied by %s", s.Role, s.Name, strings.Join(w.DenyNode, ", "), w.Source)
	}
	if w.Error != "" {
		e.note("%s %s: the last change of the control file was not taken: %s", s.Role, s.Name, w.Error)
	}
}

func (s nodeStatus) row() []string {
	state := "ready"
	switch {
	case !s.Answers:
		state = "no answer: " + s.Error
	case !s.Ready:
		state = strings.TrimSuffix("not ready: "+s.Because, ": ")
	}
	n := func(v uint64) string { return strconv.FormatUint(v, 10) }
	return []string{s.Role, s.Region, s.Name, s.Address, state, n(s.Machines), n(s.Rows), n(s.Gaps), n(s.Withheld), s.Root[:min(8, len(s.Root))]}
}
