package replica

import "github.com/firebreak-dev/firebreak/internal/record"

// Stats counts since the start of a core, and tells of the moment.
type Stats struct {
	Written      uint64 // changesets of this node
	Arrived      uint64 // deliveries that peers sent
	Taken        uint64 // of them, those that brought something new
	Filled       uint64 // of them, those that came in answers
	Duplicates   uint64 // known, and dropped
	QueueDropped uint64 // pushes dropped because the store is behind
	PushDropped  uint64 // pushes that did not leave
	Owed         uint64 // times that a peer came to be owed a sync
	Malformed    uint64
	Unknown      uint64 // frames of unknown kinds, or packed with an unknown dictionary
	Dropped      uint64 // peers disconnected for what they did wrong
	Foreign      uint64 // pushes of a writer that is not the peer
	Unasked      uint64
	Capped       uint64 // beyond a cap on writers, gaps or boots
	Timeouts     uint64
	Damaged      uint64
	Listings     uint64 // taken
	Repaired     uint64 // of them, those that ended damage or met a late write

	Closing ClosingStats

	Writers    int
	Gaps       int // versions that are missing below heads
	Queue      int // deliveries that wait for the store
	QueueBytes int
	Peers      []PeerStats // connected ones, by node
}

// PeerStats tells of a connected peer.
type PeerStats struct {
	Node   record.Node
	Behind uint64 // versions that it had and this node lacked, at the last comparison; zero once it is done
	Owed   bool   // a push to it was dropped, and it was not told yet
}

// Stats returns the counts and the moment.
func (c *Core) Stats() Stats {
	s := c.stats
	s.Writers, s.Gaps, s.Queue, s.QueueBytes = c.book.writers, c.book.gaps(), c.queue.waiting(), c.queue.bytes
	s.Closing = c.closingStats()
	for _, p := range c.peers {
		s.Peers = append(s.Peers, PeerStats{p.node, p.session.behind, p.owes})
	}
	return s
}
