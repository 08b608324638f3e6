package quic

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"net/netip"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/firebreak-dev/firebreak/internal/mesh"
)

var (
	goldenCluster = cluster{"acme", "region/iad", Generation{1, 0xdeadbeef}}
	goldenInfo    = info{
		node: "w1", writer: writer{1790000000, 7}, locality: "us-east", gateway: "10.0.0.1:7943",
		address: netip.MustParseAddrPort("10.0.0.1:7946"),
	}
)

// The bytes of docs/reference/wire-mesh.md. They change only with the protocol.
func TestWireBytesAreTheDocumentedOnes(t *testing.T) {
	for _, g := range []struct {
		name string
		got  []byte
		want string
	}{
		{"hello", encodeHello(goldenCluster, goldenInfo),
			"0a0461636d65120a726567696f6e2f6961641a08080110effdb6f50d220277312880f7c4d50630073a0775732d656173744001480152" +
				"0d31302e302e302e313a373934365a0d31302e302e302e313a37393433"},
		{"control stream", append([]byte{kindControl}, appendFrame(nil, []byte{controlLeaving, byte(mesh.Draining)})...), "01 02 0205"},
		{"flow preface", appendPreface(nil, kindFlow, mesh.Flow{Class: mesh.Push}), "11 01 00"},
		{"lane preface", appendPreface(nil, kindSingle, mesh.Flow{Lane: "iad", Class: mesh.Sync}), "12 02 03 696164"},
		{"frame", appendFrame(nil, bytes.Repeat([]byte{0xaa}, 200))[:4], "c801 aaaa"},
		{"metadata", encodeMeta(mesh.Restarting, goldenInfo),
			"04 220277312880f7c4d50630073a0775732d65617374520d31302e302e302e313a373934365a0d31302e302e302e313a37393433"},
	} {
		if got, want := hex.EncodeToString(g.got), strings.ReplaceAll(g.want, " ", ""); got != want {
			t.Errorf("%s:\n got %s\nwant %s", g.name, got, want)
		}
	}
}

func TestHelloSurvivesTheWire(t *testing.T) {
	got, odd, refused := decodeHello(goldenCluster, encodeHello(goldenCluster, goldenInfo))
	if refused != nil || odd || got != goldenInfo {
		t.Errorf("got %+v, unknown fields %v, %v; want %+v", got, odd, refused, goldenInfo)
	}
	s, about, err := decodeMeta("w1", encodeMeta(mesh.Draining, goldenInfo))
	if err != nil || s != mesh.Draining || about != goldenInfo {
		t.Errorf("metadata gave %v %+v, %v", s, about, err)
	}
	if _, _, err := decodeMeta("w2", encodeMeta(mesh.Alive, goldenInfo)); err == nil {
		t.Error("metadata of w1 was taken for w2")
	}
}

func TestTheLargestMetadataFits(t *testing.T) {
	big := info{
		node: "w123456789012345678901234567890123456789012345678901234567890ab", writer: writer{1<<64 - 1, 1<<64 - 1},
		locality: strings.Repeat("l", 32), gateway: strings.Repeat("g", maxHostPort),
		address: netip.MustParseAddrPort("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"),
	}
	if n := len(encodeMeta(mesh.Alive, big)); n > maxMeta {
		t.Errorf("%d bytes, and memberlist panics above %d", n, maxMeta)
	}
}

func TestAStreamCutAnywhereGivesNoHalfFrame(t *testing.T) {
	stream := appendFrame(appendFrame(nil, []byte("first")), bytes.Repeat([]byte("x"), 300))
	for cut := range len(stream) {
		r := bufio.NewReader(iotest.OneByteReader(bytes.NewReader(stream[:cut])))
		for {
			frame, err := readFrame(r, mesh.MaxFrame)
			if err != nil {
				if clean := cut == 0 || cut == 6; clean != errors.Is(err, io.EOF) {
					t.Errorf("cut at %d: %v", cut, err)
				}
				break
			}
			if string(frame) != "first" {
				t.Errorf("cut at %d: frame of %d bytes", cut, len(frame))
			}
		}
	}
}

func TestALengthAloneTakesNoMemory(t *testing.T) {
	lie := appendLength(nil, mesh.MaxFrame)
	allocated := testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			readFrame(bufio.NewReader(bytes.NewReader(lie)), mesh.MaxFrame)
		}
	}).AllocedBytesPerOp()
	if allocated > mesh.MaxFrame/8 {
		t.Errorf("%d bytes for a frame that never comes", allocated)
	}
}

func FuzzHello(f *testing.F) {
	f.Add(encodeHello(goldenCluster, goldenInfo))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		about, _, refused := decodeHello(goldenCluster, b)
		if refused != nil {
			if refused.Reason == "" || refused.Code == 0 {
				t.Fatalf("refused without a reason: %+v", refused)
			}
			return
		}
		if !about.address.IsValid() || about.node == "" || about.writer.boot == 0 {
			t.Fatalf("accepted %+v", about)
		}
		again, _, refused := decodeHello(goldenCluster, encodeHello(goldenCluster, about))
		if refused != nil || again != about {
			t.Fatalf("%+v came back as %+v, %v", about, again, refused)
		}
	})
}

func FuzzMeta(f *testing.F) {
	f.Add("w1", encodeMeta(mesh.Alive, goldenInfo))
	f.Fuzz(func(t *testing.T, name string, b []byte) {
		if _, about, err := decodeMeta(name, b); err == nil && string(about.node) != name {
			t.Fatalf("metadata of %q taken for %q", about.node, name)
		}
	})
}

func FuzzStream(f *testing.F) {
	f.Add(appendFrame(appendPreface(nil, kindFlow, mesh.Flow{Lane: "iad", Class: mesh.Push}), []byte("frame"))[1:])
	f.Add(appendLength(appendPreface(nil, kindSingle, mesh.Flow{Class: mesh.Sync})[1:], mesh.MaxFrame))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bufio.NewReader(bytes.NewReader(b))
		flow, err := readPreface(r)
		if err != nil {
			return
		}
		if checkFlow(flow) != nil {
			t.Fatalf("flow %+v was taken", flow)
		}
		total := 0
		for {
			frame, err := readFrame(r, mesh.MaxFrame)
			if err != nil {
				break
			}
			total += len(frame)
		}
		if total > len(b) {
			t.Fatalf("%d bytes of frames from %d bytes", total, len(b))
		}
	})
}
