package replica

import "github.com/firebreak-dev/firebreak/internal/record"

// Event is something that happened to a core: one of the types below.
type Event interface{ event() }

// State is what the store has of one writer.
type State struct {
	Writer       record.Writer
	Received     record.Received
	Fingerprints [len(record.Kinds)]record.Fingerprint
}

// Entry is one step of the store's feed.
type Entry struct {
	Local     *record.Changeset // set if this node wrote it, since its start
	States    []State           // of the writers that it changed, after it
	Boots     []Boots           // of the nodes whose boots it changed, after it
	Forgotten []record.Writer   // nothing is known of them any more
}

type (
	// Committed tells of durable changes, in the order of the feed.
	Committed struct{ Entries []Entry }

	// Arrived hands over a frame of a connected peer. The core keeps it.
	Arrived struct {
		From  record.Node
		Frame []byte
	}

	// Applied answers the batch that is out, an outcome for each delivery.
	Applied struct{ Outcomes []Outcome }

	// ApplyFailed says that the store could not tell what becomes of the
	// batch that is out. It is offered again later.
	ApplyFailed struct{}

	// Served brings the frames that answer a Serve, in order.
	Served struct {
		To     record.Node
		ID     uint64
		Frames [][]byte
	}

	// Refused says that a frame was dropped before it left.
	Refused struct {
		To   record.Node
		Push bool
	}

	// Connected says that frames to a peer pass from now on.
	Connected struct{ Peer record.Node }

	// Lost says that frames to a peer no longer pass.
	Lost struct{ Peer record.Node }

	// Renewed answers a Renew: this node now writes as Writer. The zero
	// writer says that it failed, and is tried again at the next data.
	Renewed struct{ Writer record.Writer }

	// Checked answers a Check: whether rows do not sum to their fingerprints,
	// or the store could not tell.
	Checked struct{ Damaged, Failed bool }

	// TookPage answers a TakePage.
	TookPage struct{ Failed bool }

	// Restamped answers a Restamp: so many rows are left.
	// A store that cannot close says so, and is not asked again.
	Restamped struct {
		Left                int
		Failed, Unsupported bool
	}

	// ClosedEarlier answers a Close.
	ClosedEarlier struct{ Failed bool }

	// Members names those whom the mesh knows, connected or not.
	Members struct{ Nodes []record.Node }

	// Confirmed says whether every row of this node's own is vouched for.
	Confirmed struct{ Yes bool }

	// Reloaded replaces all that is known to be received, after the feed was
	// lost. What was committed in between was not pushed: every peer is owed
	// a sync.
	Reloaded struct {
		States []State
		Boots  []Boots
	}
)

func (Committed) event()     {}
func (Arrived) event()       {}
func (Applied) event()       {}
func (ApplyFailed) event()   {}
func (Served) event()        {}
func (Refused) event()       {}
func (Connected) event()     {}
func (Lost) event()          {}
func (Renewed) event()       {}
func (Reloaded) event()      {}
func (TookPage) event()      {}
func (Checked) event()       {}
func (Restamped) event()     {}
func (ClosedEarlier) event() {}
func (Members) event()       {}
func (Confirmed) event()     {}

// Outcome is what became of a delivery.
type Outcome byte

// The outcomes.
const (
	Taken     Outcome = iota + 1 // received now
	Known                        // had been received
	Malformed                    // nothing of it was taken
)

// Ready is what a core wants done, in the order of the fields.
type Ready struct {
	Sends   []Send            // to queue; a frame that was not queued is Refused
	Apply   []record.Delivery // to offer to the store, answered by Applied or ApplyFailed
	Serves  []Serve           // each to read from one snapshot, answered by Served
	Take    *TakePage         // a page of a listing for the store, answered by TookPage
	Check   bool              // sum the shared and ranked rows, answered by Checked
	Restamp bool              // write rows of earlier writers again, answered by Restamped
	Close   record.Writer     // close what is earlier than this writer, answered by ClosedEarlier; zero means no
	Renew   uint64            // take a writer with at least this boot, answered by Renewed; zero means none
	Drops   []Drop            // connections to close
	Reports []Report          // for people and metrics
}

// Send is one frame to one peer. Frames are shared between peers: nobody
// writes to them.
type Send struct {
	To    record.Node
	Push  bool // the class of traffic: push, else sync
	Frame []byte
}

// Serve asks for the frames that answer a peer's want. See Answer.
type Serve struct {
	To      record.Node
	ID      uint64
	Limit   int // bytes
	Wants   []Want
	Listing ListingWant
	Page    int // above zero: of the listing that answers the request ID already
}

// TakePage is a page of a listing to take.
type TakePage struct {
	First bool
	Page  Page
}

// Want is a request for versions of a writer, newest first.
type Want struct {
	Writer record.Writer
	Ranges []record.Range
}

// Report tells of something that a person may want to know.
type Report struct {
	Kind   Kind
	Peer   record.Node
	Writer record.Writer // where it is about one
	Err    error         // may be nil
}

// Kind of a report; also a label in metrics.
type Kind string

// The kinds.
const (
	ReportMalformed Kind = "malformed" // a frame that cannot be read, or a record that the store rejects
	ReportUnknown   Kind = "unknown"   // a frame of a kind that this version does not know
	ReportForeign   Kind = "foreign"   // a push of a writer that is not the peer, or data under a writer of this start
	ReportUnasked   Kind = "unasked"   // an answer that nobody waits for
	ReportCap       Kind = "cap"       // data beyond a cap on writers or gaps
	ReportBoot      Kind = "boot"      // data of a boot more than two years ahead
	ReportDamage    Kind = "damage"    // equal received sets with different fingerprints
	ReportDropped   Kind = "dropped"   // a peer broke the protocol again and again, and is disconnected
	ReportTimeout   Kind = "timeout"   // a peer did not answer
)
