package global

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/firebreak-dev/firebreak/global/directory"
	"github.com/firebreak-dev/firebreak/internal/fleet/presence/wire"
	globalv1 "github.com/firebreak-dev/firebreak/proto/firebreak/global/v1"
)

var errSessionOver = errors.New("session is over")

// cmpErr turns the end of a stream into done.
func cmpErr(err, done error) error {
	if errors.Is(err, io.EOF) {
		return done
	}
	return cmp.Or(err, done)
}

// send tells the gateway what global holds of its region, asks with tokens, and
// passes answers on. All that a session sends is sent from here.
func (s *session) send(ctx context.Context) error {
	b := newBell()
	s.lane.bells.add(b)
	defer s.lane.bells.remove(b)
	ticker := time.NewTicker(tokenEvery)
	defer ticker.Stop()
	if err := s.own(); err != nil {
		return err
	}
	if err := s.token(); err != nil {
		return err
	}
	for {
		var err error
		select {
		case <-ctx.Done():
			return ctx.Err()
		case m := <-s.answers:
			err = s.stream.Send(m)
		case <-b:
			err = s.own()
		case <-ticker.C:
			err = s.token()
		}
		if err != nil {
			return fmt.Errorf("send to %s: %w", s.reporter, err)
		}
	}
}

func (s *session) token() error {
	if s.service.frozen() {
		return status.Error(codes.Unavailable, "egress of this node is frozen")
	}
	return s.stream.Send(&globalv1.ReportResponse{Part: &globalv1.ReportResponse_Token{Token: &globalv1.Token{Token: s.newToken()}}})
}

// own sends what changed of the region's own rows since the last time; at
// first, all of them.
func (s *session) own() error {
	if err := s.lane.failure(); err != nil {
		return status.Error(codes.Unavailable, errLaneEnded.Error())
	}
	for {
		part, more := s.part()
		if part == nil {
			return nil
		}
		if err := s.stream.Send(&globalv1.ReportResponse{Part: &globalv1.ReportResponse_Own{Own: part}}); err != nil {
			return err
		}
		if !more {
			return nil
		}
	}
}

// part makes the next part; nil if there is nothing to tell.
func (s *session) part() (part *globalv1.OwnReport, more bool) {
	s.lane.view(func(c *directory.Core) {
		entries := c.After(s.seq, ownPart)
		more = len(entries) == ownPart
		if len(entries) == 0 && s.whole && s.told == c.Told() {
			return
		}
		part = &globalv1.OwnReport{Full: !s.whole, Last: !more}
		for _, e := range entries {
			s.seq = e.Seq
			switch {
			case e.Presence != nil:
				part.Presence = append(part.Presence, wire.Presence(*e.Presence))
			case e.Region != nil:
				part.Region = wire.Region(*e.Region)
			}
		}
		if more {
			return
		}
		s.whole, s.told = true, c.Told()
		g, _ := c.Generation()
		part.Generation = wire.Generation(g)
		for _, w := range c.Confirmed(s.service.now()) {
			part.ConfirmedReporters = append(part.ConfirmedReporters, string(w))
		}
		held := c.HeldApps()
		for _, app := range held[:min(len(held), maxNamed)] {
			part.Held = append(part.Held, string(app))
		}
	})
	return part, more
}

func refused(r directory.Refusal) *globalv1.ReportResponse {
	code := globalv1.RefusalCode_REFUSAL_CODE_NODE
	switch r.Code {
	case directory.Lost:
		code = globalv1.RefusalCode_REFUSAL_CODE_LOST
	case directory.BadRecord:
		code = globalv1.RefusalCode_REFUSAL_CODE_RECORD
	}
	return &globalv1.ReportResponse{Part: &globalv1.ReportResponse_Refused{Refused: &globalv1.ReportRefused{
		App: shorten(string(r.App)), Reason: r.Reason, WinningStamp: r.Winning, Code: code,
	}}}
}

func accepted(n int) *globalv1.ReportResponse {
	return &globalv1.ReportResponse{Part: &globalv1.ReportResponse_Accepted{Accepted: &globalv1.ReportAccepted{Presence: uint64(n)}}}
}

// shorten bounds what is repeated of a name that was refused.
func shorten(s string) string { return strings.ToValidUTF8(s[:min(len(s), 80)], "") }

// judged counts a verdict.
func (m *metrics) judged(v directory.Verdict) {
	written := len(v.Write)
	if v.Region != nil {
		written++
	}
	m.reports.WithLabelValues("written").Add(float64(written))
	m.reports.WithLabelValues("stands").Add(float64(v.Stands))
	m.reports.WithLabelValues("held").Add(float64(v.Held))
	m.reports.WithLabelValues("refused").Add(float64(len(v.Refused)))
}
