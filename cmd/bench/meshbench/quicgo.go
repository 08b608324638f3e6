package meshbench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	quicgo "github.com/quic-go/quic-go"
	"golang.org/x/sync/errgroup"

	"github.com/firebreak-dev/firebreak/cmd/bench/world"
	"github.com/firebreak-dev/firebreak/internal/bench"
	"github.com/firebreak-dev/firebreak/internal/identity"
)

// wires measures how many messages of a row's size one QUIC connection carries,
// in each of its ways.
func wires(ctx context.Context, b *bench.Bencher) (err error) {
	dir, err := b.MemoryDir(1 << 20)
	if err != nil {
		return err
	}
	w, err := world.New(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	from, to, err := connect(ctx, w)
	if err != nil {
		return err
	}
	b.Note("both ends are one process; datagrams are counted as they arrive, for some are lost")
	b.Pairs(3)
	for _, c := range []struct {
		name string
		do   func(ctx context.Context, from, to *quicgo.Conn, ops int) error
	}{{"one framed stream", framed}, {"a stream per message", streams}, {"datagrams", datagrams}} {
		side := bench.Side{
			Name:    c.name,
			Prepare: func(int) error { return drain(to) },
			Do:      func(ctx context.Context, ops int) (bench.Values, error) { return nil, c.do(ctx, from, to, ops) },
		}
		err := b.Compare(ctx, bench.Pair{Name: c.name, Multiple: 100, Subject: side, Measures: []bench.Measure{
			{Name: "messages per second", Unit: "/s", Of: bench.Rate, How: bench.Alone},
			{Name: "CPU per message", Unit: "µs", Of: bench.CPU, How: bench.Alone, Guard: bench.OnCPU},
		}})
		if err != nil {
			return err
		}
	}
	return nil
}

const protocol = "bench"

// connect opens a connection between two nodes on loopback.
func connect(ctx context.Context, w *world.World) (from, to *quicgo.Conn, err error) {
	var ends [2]*identity.Source
	for i := range ends {
		if ends[i], err = w.Identity(identity.ID{Role: identity.Node, Region: "bench", Name: fmt.Sprint("w", i)}); err != nil {
			return nil, nil, err
		}
	}
	anybody := identity.SameCluster(world.Fleet, "region/bench")
	cfg := &quicgo.Config{EnableDatagrams: true, MaxIncomingUniStreams: 1 << 16}
	lis, err := quicgo.ListenAddr("127.0.0.1:0", ends[0].Server(anybody, protocol), cfg)
	if err != nil {
		return nil, nil, fmt.Errorf("listen: %w", err)
	}
	w.Until(lis.Close)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) { to, err = lis.Accept(ctx); return err })
	g.Go(func() (err error) {
		socket, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			return err
		}
		w.Until(socket.Close)
		// The handshake's context ends with this group; the connection does not.
		from, err = quicgo.Dial(ctx, socket, lis.Addr(), ends[1].Client(anybody, protocol), cfg)
		return err
	})
	if err := g.Wait(); err != nil {
		return nil, nil, fmt.Errorf("connect: %w", err)
	}
	w.Until(func() error { return from.CloseWithError(0, "") })
	return from, to, nil
}

// framed writes all messages to one stream, each with its length.
func framed(ctx context.Context, from, to *quicgo.Conn, ops int) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		s, err := from.OpenUniStreamSync(ctx)
		if err != nil {
			return err
		}
		msg := make([]byte, 2+rowBytes)
		binary.BigEndian.PutUint16(msg, rowBytes)
		for range ops {
			if _, err := s.Write(msg); err != nil {
				return err
			}
		}
		return s.Close()
	})
	g.Go(func() error {
		s, err := to.AcceptUniStream(ctx)
		if err != nil {
			return err
		}
		return readAll(s, ops*(2+rowBytes))
	})
	return g.Wait()
}

// readAll reads a stream to its end, which must come after size bytes.
func readAll(r io.Reader, size int) error {
	n, err := io.Copy(io.Discard, r)
	if err == nil && n != int64(size) {
		err = fmt.Errorf("%d bytes came, want %d", n, size)
	}
	return err
}

// streams opens a stream for each message.
func streams(ctx context.Context, from, to *quicgo.Conn, ops int) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		msg := make([]byte, rowBytes)
		for range ops {
			s, err := from.OpenUniStreamSync(ctx)
			if err != nil {
				return err
			}
			if _, err := s.Write(msg); err != nil {
				return err
			}
			if err := s.Close(); err != nil {
				return err
			}
		}
		return nil
	})
	g.Go(func() error {
		for range ops {
			s, err := to.AcceptUniStream(ctx)
			if err != nil {
				return err
			}
			if err := readAll(s, rowBytes); err != nil {
				return err
			}
		}
		return nil
	})
	return g.Wait()
}

// quietFor is how long no datagram comes once those of a block are through.
const quietFor = 50 * time.Millisecond

// datagrams sends each message as one, until as many have arrived as there
// should be.
func datagrams(ctx context.Context, from, to *quicgo.Conn, ops int) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer stop()
		for range ops {
			if _, err := to.ReceiveDatagram(ctx); err != nil {
				return fmt.Errorf("receive: %w", err)
			}
		}
		return nil
	})
	g.Go(func() error {
		msg := make([]byte, rowBytes)
		for ctx.Err() == nil { // lost ones are made up for
			if err := from.SendDatagram(msg); err != nil {
				return fmt.Errorf("send: %w", err)
			}
		}
		return nil
	})
	return g.Wait()
}

// drain takes the datagrams that the block before had too many.
func drain(to *quicgo.Conn) error {
	for {
		ctx, cancel := context.WithTimeout(context.Background(), quietFor)
		_, err := to.ReceiveDatagram(ctx)
		cancel()
		if errors.Is(err, context.DeadlineExceeded) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
