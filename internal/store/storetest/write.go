package storetest

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
)

func writeIsDenseAndVisible(t *testing.T, s *suite) {
	st := s.open("a")
	for i := range 5 {
		c := s.put(st, "things", thing("a", "x", "v", i))
		if want := (record.Point{Writer: st.Writer(), Version: record.Version(i + 1)}); c.Point != want {
			t.Fatalf("commit %d is %v, want %v", i, c.Point, want)
		}
		if c.Records != 1 {
			t.Errorf("commit %d has %d records, want 1", i, c.Records)
		}
	}
	if diff := cmp.Diff([]store.Row{thing("a", "x", "v", 4)}, s.rows(st, "things")); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	if got := s.state(st, st.Writer()).Received; !got.Equal(record.Received{Head: 5}) {
		t.Errorf("own received set is %v, want 5", got)
	}
}

func unchangedRowIsNoWrite(t *testing.T, s *suite) {
	st := s.open("a")
	first := s.put(st, "things", thing("a", "x", "v", 1))
	before := s.state(st, st.Writer())
	again := s.put(st, "things", thing("a", "x", "v", 1))
	if again.Point != (record.Point{}) || again.Records != 0 {
		t.Errorf("an unchanged row made %v with %d records", again.Point, again.Records)
	}
	if diff := cmp.Diff([]record.Point{first.Point}, again.Standing); diff != "" {
		t.Errorf("standing (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(before, s.state(st, st.Writer())); diff != "" {
		t.Errorf("state changed (-before +after):\n%s", diff)
	}
	if c := s.delete(st, "things", "a", "nothing"); c.Point != (record.Point{}) {
		t.Errorf("deleting a row that is not there made %v", c.Point)
	}
	s.put(st, "things", thing("a", "x", "w", 1), thing("a", "x", "v", 1))
	if diff := cmp.Diff(before, s.state(st, st.Writer())); diff != "" {
		t.Errorf("there and back in one transaction was a write (-before +after):\n%s", diff)
	}
}

func failedUpdateWritesNothing(t *testing.T, s *suite) {
	st := s.open("a")
	boom := errors.New("boom")
	_, err := st.Update(t.Context(), func(tx store.Tx) error {
		if err := tx.Put("things", thing("a", "x", "v", 1)); err != nil {
			return err
		}
		return boom
	})
	if !errors.Is(err, boom) {
		t.Fatalf("error is %v, want %v", err, boom)
	}
	if _, err := st.Update(t.Context(), func(tx store.Tx) error { return tx.Put("things", thing("a", "x", "v", 5000)) }); err == nil {
		t.Error("a row against its CHECK was written")
	}
	if rows := s.rows(st, "things"); len(rows) != 0 {
		t.Errorf("rows %v after failed updates", rows)
	}
	if c := s.put(st, "things", thing("a", "y", "v", 1)); c.Point.Version != 1 {
		t.Errorf("the next write is version %d, want 1: a failed one must use none", c.Point.Version)
	}
}

func onlyOwnRowsAreWritten(t *testing.T, s *suite) {
	st := s.open("a")
	_, err := st.Update(t.Context(), func(tx store.Tx) error {
		if err := tx.Put("things", thing("a", "x", "v", 1)); err != nil {
			return err
		}
		return tx.Put("things", thing("b", "x", "v", 1))
	})
	var owner *store.NotOwnerError
	if !errors.As(err, &owner) || owner.Owner != "b" || owner.Table != "things" {
		t.Fatalf("writing b's row gave %v, want a NotOwnerError that names b", err)
	}
	if rows := s.rows(st, "things"); len(rows) != 0 {
		t.Errorf("the rest of the refused transaction was written: %v", rows)
	}
}

func capsAreRefusedBeforeWriting(t *testing.T, s *suite) {
	st := s.open("a")
	big := strings.Repeat("x", record.MaxRow)
	_, err := st.Update(t.Context(), func(tx store.Tx) error { return tx.Put("things", thing("a", "x", big, 1)) })
	if !errors.Is(err, store.ErrTooLarge) {
		t.Errorf("a row over the cap gave %v", err)
	}
	many := func(n int, val string) error {
		_, err := st.Update(t.Context(), func(tx store.Tx) error {
			for i := range n {
				if err := tx.Put("things", thing("a", string(rune('a'+i%26))+strings.Repeat("i", i/26), val, 1)); err != nil {
					return err
				}
			}
			return nil
		})
		return err
	}
	if err := many(record.MaxRecords+1, "v"); !errors.Is(err, store.ErrTooLarge) {
		t.Errorf("%d records gave %v", record.MaxRecords+1, err)
	}
	if err := many(20, strings.Repeat("x", 60<<10)); !errors.Is(err, store.ErrTooLarge) {
		t.Errorf("a changeset of 1.2 MB gave %v", err)
	}
	if rows := s.rows(st, "things"); len(rows) != 0 {
		t.Errorf("%d rows were written by refused transactions", len(rows))
	}
	if err := many(record.MaxRecords, "v"); err != nil {
		t.Errorf("%d records: %v", record.MaxRecords, err)
	}
}

func valuesComeBackAsStored(t *testing.T, s *suite) {
	a, b := s.open("a"), s.open("b")
	vals := []record.Value{
		{}, record.Of(""), record.Of([]byte{}), record.Of(0), record.Of(math.MaxInt64), record.Of(math.MinInt64),
		record.Of(int64(9007199254740993)), record.Of(1.0), record.Of(math.Copysign(0, -1)), record.Of(math.Inf(1)),
		record.Of(math.Inf(-1)), record.Of("a\x00b"), record.Of("\xff\xfe"), record.Of([]byte{0, 255}), record.Of("2026-03-01 10:00:00"),
		record.Of("1"), record.Of(1), record.Of(5e-324), record.Of("'\"\n"),
	}
	for i, v := range vals {
		id := string(rune('A' + i))
		s.put(a, "things", store.Row{record.Of("a"), record.Of(id), v, record.Of(1)})
	}
	s.apply(b, s.everything(a, a.Writer())...)
	for _, st := range []store.Store{a, b} {
		for i, v := range vals {
			if got := s.get(st, "things", "a", string(rune('A'+i))); got == nil || !got[2].Equal(v) {
				t.Errorf("at %s: %v came back as %v", st.Writer().Node, v, got)
			}
		}
	}
	if diff := cmp.Diff(s.state(a, a.Writer()), s.state(b, a.Writer())); diff != "" {
		t.Errorf("states differ (-writer +receiver):\n%s", diff)
	}
}

func deleteLeavesATombstone(t *testing.T, s *suite) {
	a, b := s.open("a"), s.open("b")
	s.put(a, "things", thing("a", "x", "v", 1))
	put := s.everything(a, a.Writer())
	if c := s.delete(a, "things", "a", "x"); c.Point.Version != 2 || c.Records != 1 {
		t.Fatalf("delete is %v with %d records", c.Point, c.Records)
	}
	if fp := s.state(a, a.Writer()).Fingerprints; fp != ([3]record.Fingerprint{}) {
		t.Errorf("fingerprints %v with no live row", fp)
	}
	s.apply(b, s.everything(a, a.Writer())...)
	s.apply(b, put...) // an old copy comes late
	if row := s.get(b, "things", "a", "x"); row != nil {
		t.Errorf("deleted row is back: %v", row)
	}
	s.put(a, "things", thing("a", "x", "w", 1))
	s.apply(b, s.everything(a, a.Writer())...)
	if row := s.get(b, "things", "a", "x"); row == nil {
		t.Error("a row written anew is missing")
	}
}
