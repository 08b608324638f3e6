package global

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/firebreak-dev/firebreak/global/directory"
	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/fleet/presence"
	"github.com/firebreak-dev/firebreak/internal/fleet/presence/wire"
	"github.com/firebreak-dev/firebreak/internal/identity"
	"github.com/firebreak-dev/firebreak/internal/rpc"
	globalv1 "github.com/firebreak-dev/firebreak/proto/firebreak/global/v1"
)

// The bounds of a report session.
const (
	tokenEvery  = 2 * time.Second
	tokensKept  = 8   // a confirmation of an older one is not taken
	answerQueue = 8   // answers that wait to be sent; full, no more is read
	ownPart     = 500 // records in one part of what global holds
	maxBatch    = 1000
	maxNamed    = 1000 // held apps named to the reporter
)

// reportService lets gateways in, each for its own region.
type reportService struct {
	globalv1.UnimplementedReportServiceServer
	lanes   *lanes
	now     func() directory.Instant
	frozen  func() bool
	metrics *metrics
}

// Report implements globalv1.ReportServiceServer.
func (s *reportService) Report(stream globalv1.ReportService_ReportServer) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	caller, _ := rpc.PeerID(stream.Context())
	l, reporter, err := s.admit(stream.Context(), caller, first.GetHello())
	if err != nil {
		return err
	}
	select {
	case l.slots <- struct{}{}:
		defer func() { <-l.slots }()
	default:
		return status.Errorf(codes.ResourceExhausted, "region %s has %d report sessions here already", l.region, maxSessions)
	}
	s.metrics.sessions.Inc()
	defer s.metrics.sessions.Dec()
	session := &session{
		service: s, lane: l, reporter: reporter, stream: stream,
		answers: make(chan *globalv1.ReportResponse, answerQueue), next: randomToken(),
	}
	group, ctx := errgroup.WithContext(stream.Context())
	group.Go(func() error { return session.send(ctx) })
	// Recv ends with the stream, which ends when this function returns: so it
	// is the one goroutine that is not waited for when sending fails.
	received := make(chan error, 1)
	go func() { received <- session.receive(ctx) }()
	group.Go(func() error {
		select {
		case err := <-received:
			return cmpErr(err, errSessionOver)
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	if err := group.Wait(); !errors.Is(err, errSessionOver) {
		return err
	}
	return nil
}

// admit checks who calls: a gateway speaks for the region in its certificate,
// in its own name, and of that region's generation.
func (s *reportService) admit(ctx context.Context, caller identity.ID, hello *globalv1.ReportHello) (*lane, fleet.Worker, error) {
	if hello == nil {
		return nil, "", status.Error(codes.InvalidArgument, "a session begins with a hello")
	}
	if caller.Role != identity.Gateway || caller.Region != hello.GetRegion() || caller.Name != hello.GetReporter() {
		return nil, "", status.Errorf(codes.PermissionDenied, "%v may not report for region %q as %q", caller, shorten(hello.GetRegion()), shorten(hello.GetReporter()))
	}
	if s.frozen() {
		return nil, "", status.Error(codes.Unavailable, "egress of this node is frozen")
	}
	l := s.lanes.get(fleet.Region(hello.GetRegion()))
	if l == nil {
		return nil, "", status.Errorf(codes.FailedPrecondition, "region %q is not in the list of regions: firebreak region add %s", hello.GetRegion(), hello.GetRegion())
	}
	if err := l.ready(ctx); errors.Is(err, errLaneEnded) {
		return nil, "", status.Error(codes.Unavailable, err.Error())
	} else if err != nil {
		return nil, "", err
	}
	var g presence.Generation
	l.view(func(c *directory.Core) { g, _ = c.Generation() })
	if got := wire.ToGeneration(hello.GetGeneration()); got != g {
		return nil, "", status.Errorf(codes.FailedPrecondition, "generation %v is not region %s's %v", got, l.region, g)
	}
	return l, fleet.Worker(hello.GetReporter()), nil
}

// session is one gateway's.
type session struct {
	service  *reportService
	lane     *lane
	reporter fleet.Worker
	stream   globalv1.ReportService_ReportServer
	answers  chan *globalv1.ReportResponse

	// Owned by send.
	seq, told uint64
	whole     bool

	mu     sync.Mutex // guards the fields below
	next   uint64
	tokens []sentToken // oldest first
}

type sentToken struct {
	token uint64
	at    time.Duration
}

func randomToken() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return binary.BigEndian.Uint64(b[:])
}

// receive takes the gateway's reports. What is over the region's budget waits,
// which holds up this stream alone.
func (s *session) receive(ctx context.Context) error {
	for {
		m, err := s.stream.Recv()
		if err != nil {
			return err
		}
		size := proto.Size(m)
		if size > budgetBurst {
			return status.Errorf(codes.ResourceExhausted, "message of %d bytes is over the limit of %d", size, budgetBurst)
		}
		if err := s.lane.budget.WaitN(ctx, size); err != nil {
			return err
		}
		switch p := m.GetPart().(type) {
		case *globalv1.ReportRequest_Presence:
			err = s.presence(ctx, p.Presence.GetPresence())
		case *globalv1.ReportRequest_Region:
			err = s.region(ctx, p.Region)
		case *globalv1.ReportRequest_Confirmation:
			s.confirm(p.Confirmation)
		case *globalv1.ReportRequest_Hello:
			return status.Error(codes.InvalidArgument, "a second hello")
		}
		if err != nil {
			return err
		}
	}
}

func (s *session) presence(ctx context.Context, batch []*globalv1.Presence) error {
	if len(batch) > maxBatch {
		return status.Errorf(codes.InvalidArgument, "batch of %d records is over the limit of %d", len(batch), maxBatch)
	}
	o := offer{reporter: s.reporter}
	for _, m := range batch {
		if size := proto.Size(m); size > presence.MaxPresence {
			why := directory.Refusal{App: fleet.App(shorten(m.GetApp())), Code: directory.BadRecord, Reason: "record is over the limit of 256 bytes"}
			if err := s.answer(ctx, refused(why)); err != nil {
				return err
			}
			continue
		}
		o.presence = append(o.presence, wire.ToPresence(s.lane.region, m))
	}
	return s.offer(ctx, o)
}

func (s *session) region(ctx context.Context, m *globalv1.RegionRecord) error {
	o := offer{reporter: s.reporter}
	rec := wire.ToRegion(m)
	o.region = &rec
	if size := proto.Size(m); size > presence.MaxRegion {
		why := directory.Refusal{Code: directory.BadRecord, Reason: "region record is over the limit of 1024 bytes"}
		if err := s.answer(ctx, refused(why)); err != nil {
			return err
		}
		return s.answer(ctx, accepted(0))
	}
	return s.offer(ctx, o)
}

// offer has a report judged and answers: each refusal, then how much is held.
func (s *session) offer(ctx context.Context, o offer) error {
	v, err := s.lane.offer(ctx, o)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		v = directory.Verdict{Refused: []directory.Refusal{{Code: directory.BadNode, Reason: err.Error()}}}
	}
	s.service.metrics.judged(v)
	for _, r := range v.Refused {
		if err := s.answer(ctx, refused(r)); err != nil {
			return err
		}
	}
	return s.answer(ctx, accepted(v.Taken()))
}

func (s *session) answer(ctx context.Context, m *globalv1.ReportResponse) error {
	select {
	case s.answers <- m:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// confirm takes a confirmation of one of this session's tokens; any other is
// dropped and counted.
func (s *session) confirm(m *globalv1.Confirmation) {
	now := s.service.now()
	age, ok := s.ageOf(m.GetToken(), now.Mono)
	digest, whole := presence.ParseDigest(m.GetDigest())
	good := ok && whole && m.GetAlgorithm() == presence.DigestAlgorithm &&
		m.GetRegion() == string(s.lane.region) && m.GetReporter() == string(s.reporter)
	if good {
		in := directory.Confirmation{
			Generation: wire.ToGeneration(m.GetGeneration()), Reporter: s.reporter, Boot: m.GetBoot(), Digest: digest,
			Offered: m.GetOfferedWithdrawals(), Withheld: m.GetWithheld(), Age: age,
		}
		s.lane.view(func(c *directory.Core) { good = c.Confirm(now, in) == nil })
	}
	if !good {
		s.service.metrics.badConfirm.Inc()
		return
	}
	s.service.metrics.confirmed.Inc()
	s.lane.bells.ring()
}

// ageOf returns how long ago a token was sent.
func (s *session) ageOf(token uint64, now time.Duration) (time.Duration, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.tokens {
		if t.token == token {
			return now - t.at, true
		}
	}
	return 0, false
}

func (s *session) newToken() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next++
	if len(s.tokens) == tokensKept {
		s.tokens = append(s.tokens[:0], s.tokens[1:]...)
	}
	s.tokens = append(s.tokens, sentToken{s.next, s.service.now().Mono})
	return s.next
}
