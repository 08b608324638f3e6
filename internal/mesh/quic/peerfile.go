package quic

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"time"

	"github.com/google/renameio/v2"

	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/record"
)

// peerFile is what is kept of peers over restarts. It is a hint: whoever
// answers at an address must still prove who it is.
type peerFile struct {
	Peers []knownPeer `json:"peers"`
}

type knownPeer struct {
	Node    record.Node `json:"node"`
	Address string      `json:"address"`
}

// maxPeerFile bounds what is read: far beyond maxPeers entries.
const maxPeerFile = 1 << 20

// saveEvery is the least time between two writes of the file.
const saveEvery = 2 * time.Second

// loadPeers reads the peers of former starts. A file that cannot be read costs
// these hints and nothing else.
func (m *Mesh) loadPeers() map[record.Node]netip.AddrPort {
	out := make(map[record.Node]netip.AddrPort)
	if m.cfg.PeersFile == "" {
		return out
	}
	f, err := readPeerFile(m.cfg.PeersFile)
	if err != nil {
		m.log.Warn("known peers not read", "path", m.cfg.PeersFile, "err", err)
	}
	for _, k := range f.Peers {
		addr, err := parseAddress(k.Address)
		if err != nil || fleet.Worker(k.Node).Check() != nil || k.Node == m.cfg.Node || len(out) >= maxPeers {
			continue
		}
		out[k.Node] = addr
	}
	return out
}

func readPeerFile(path string) (peerFile, error) {
	var f peerFile
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return f, nil
	}
	if err != nil {
		return f, err
	}
	if info.Size() > maxPeerFile {
		return f, fmt.Errorf("%d bytes are over the limit of %d", info.Size(), maxPeerFile)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return f, err
	}
	return f, json.Unmarshal(b, &f)
}

// saver returns a function that writes the file when its content has changed,
// not too often unless forced.
func (m *Mesh) saver() func(force bool) {
	var last []byte
	var at time.Time
	return func(force bool) {
		if m.cfg.PeersFile == "" || !force && time.Since(at) < saveEvery {
			return
		}
		at = time.Now()
		var f peerFile
		for _, p := range m.Peers() {
			f.Peers = append(f.Peers, knownPeer{p.Node, p.Address})
		}
		if len(f.Peers) == 0 {
			return // what an earlier start knew is better than nothing
		}
		b, err := json.MarshalIndent(f, "", " ")
		if err != nil || bytes.Equal(b, last) {
			return // it cannot fail for strings
		}
		if err := renameio.WriteFile(m.cfg.PeersFile, b, 0o600); err != nil {
			m.log.Warn("known peers not written", "path", m.cfg.PeersFile, "err", err)
			return
		}
		last = b
	}
}
