package reporter

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/firebreak-dev/firebreak/internal/backoff"
	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/fleet/presence"
	"github.com/firebreak-dev/firebreak/internal/fleet/presence/wire"
	globalv1 "github.com/firebreak-dev/firebreak/proto/firebreak/global/v1"
	"github.com/firebreak-dev/firebreak/region/report"
)

// outQueue bounds the messages that wait for one global node. The core leaves
// a handful unanswered; more waiting means that nobody reads.
const outQueue = 16

// lasted is how long a session must hold for the next retry to be early.
const lasted = 10 * time.Second

// keepSession has a session with one global node, again and again.
func (r *Reporter) keepSession(ctx context.Context, global int) error {
	retry := backoff.New(backoff.Config{Base: 200 * time.Millisecond, Max: 5 * time.Second}, uint64(r.cfg.Seed)+uint64(global))
	for {
		if !r.cfg.Freeze() {
			begin := time.Now()
			err := r.session(ctx, global)
			if ctx.Err() == nil {
				r.cfg.Logger.Debug("session with global ended", "peer", r.cfg.Globals[global], "err", err)
			}
			if time.Since(begin) > lasted {
				retry.Reset()
			}
		}
		if backoff.Wait(ctx, retry.Next()) != nil {
			return nil
		}
	}
}

// session runs one session to its end.
func (r *Reporter) session(ctx context.Context, global int) error {
	conn, err := r.cfg.Dial(r.cfg.Globals[global])
	if err != nil {
		return fmt.Errorf("dial: %w", err)
	}
	defer func() { _ = conn.Close() }()
	inner, end := context.WithCancel(ctx)
	defer end()
	stream, err := globalv1.NewReportServiceClient(conn).Report(inner)
	if err != nil {
		return err
	}
	if err := stream.Send(r.hello()); err != nil {
		return fmt.Errorf("send hello: %w", err)
	}
	out := make(chan report.Message, outQueue)
	if !r.post(ctx, event{global: global, began: &link{out: out, end: end}}) {
		return nil
	}
	defer r.post(ctx, event{global: global, ended: true})
	both, inner := errgroup.WithContext(inner)
	both.Go(func() error { return r.send(inner, stream, out) })
	both.Go(func() error {
		defer end()
		return r.receive(inner, stream, global)
	})
	return both.Wait()
}

func (r *Reporter) hello() *globalv1.ReportRequest {
	return &globalv1.ReportRequest{Part: &globalv1.ReportRequest_Hello{Hello: &globalv1.ReportHello{
		Region: string(r.cfg.Region), Reporter: string(r.cfg.Node), Generation: wire.Generation(r.cfg.Generation),
	}}}
}

// post tells the loop, and reports false if ctx ended first.
func (r *Reporter) post(ctx context.Context, e event) bool {
	select {
	case r.events <- e:
		return true
	case <-ctx.Done():
		return false
	}
}

func (r *Reporter) send(ctx context.Context, stream globalv1.ReportService_ReportClient, out <-chan report.Message) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case m := <-out:
			if err := stream.Send(request(m)); err != nil {
				return fmt.Errorf("send: %w", err)
			}
		}
	}
}

func (r *Reporter) receive(ctx context.Context, stream globalv1.ReportService_ReportClient, global int) error {
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if t := m.GetToken(); t != nil {
			r.ask(token{global: global, token: t.GetToken(), came: time.Now()})
			continue
		}
		if in := r.input(global, m); in != nil && !r.post(ctx, event{global: global, in: in}) {
			return ctx.Err()
		}
	}
}

// input turns a message into what the core is told; nil for a kind that this
// version does not know.
func (r *Reporter) input(global int, m *globalv1.ReportResponse) report.Input {
	switch p := m.GetPart().(type) {
	case *globalv1.ReportResponse_Own:
		in := report.Own{Global: global, Full: p.Own.GetFull(), Last: p.Own.GetLast()}
		for _, rec := range p.Own.GetPresence() {
			in.Presence = append(in.Presence, wire.ToPresence(r.cfg.Region, rec))
		}
		if p.Own.GetRegion() != nil {
			rec := wire.ToRegion(p.Own.GetRegion())
			in.Region = &rec
		}
		for _, w := range p.Own.GetConfirmedReporters() {
			in.Confirmed = append(in.Confirmed, fleet.Worker(w))
		}
		return in
	case *globalv1.ReportResponse_Accepted:
		return report.Accepted{Global: global, N: int(min(p.Accepted.GetPresence(), report.Batch))}
	case *globalv1.ReportResponse_Refused:
		in := report.Refused{
			Global: global, App: fleet.App(p.Refused.GetApp()), Winning: p.Refused.GetWinningStamp(), Reason: p.Refused.GetReason(),
		}
		switch p.Refused.GetCode() {
		case globalv1.RefusalCode_REFUSAL_CODE_LOST:
			in.Code = report.Lost
		case globalv1.RefusalCode_REFUSAL_CODE_RECORD:
			in.Code = report.BadRecord
		default:
			in.Code = report.BadNode
		}
		return in
	}
	return nil
}

// request turns a message of the core into what is sent.
func request(m report.Message) *globalv1.ReportRequest {
	switch {
	case m.Region != nil:
		return &globalv1.ReportRequest{Part: &globalv1.ReportRequest_Region{Region: wire.Region(*m.Region)}}
	case m.Confirmation != nil:
		return &globalv1.ReportRequest{Part: &globalv1.ReportRequest_Confirmation{Confirmation: confirmation(*m.Confirmation)}}
	}
	batch := &globalv1.PresenceBatch{}
	for _, rec := range m.Presence {
		batch.Presence = append(batch.Presence, wire.Presence(rec))
	}
	return &globalv1.ReportRequest{Part: &globalv1.ReportRequest_Presence{Presence: batch}}
}

func confirmation(c report.Confirmation) *globalv1.Confirmation {
	return &globalv1.Confirmation{
		Region: string(c.Region), Generation: wire.Generation(c.Generation), Reporter: string(c.Reporter), Boot: c.Boot,
		Token: c.Token, Algorithm: presence.DigestAlgorithm, Digest: c.Digest.Bytes(),
		OfferedWithdrawals: uint32(c.Offered), Withheld: c.Withheld, AgeMs: c.AgeMs,
	}
}
