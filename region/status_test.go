package region

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/firebreak-dev/firebreak/internal/mesh"
	"github.com/firebreak-dev/firebreak/internal/record"
)

// A node that only starts up is not alarmed about; one that stays away is named
// after five minutes, and so is one that no list of members knows.
func TestAlarmNamesWhoHoldsAClosingUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		started := time.Now()
		waiting := []record.Node{"dead", "forgotten", "slow"}
		peers := []mesh.Peer{{Node: "slow", State: mesh.Alive}, {Node: "dead", State: mesh.Dead}, {Node: "other", State: mesh.Dead}}
		time.Sleep(5*time.Minute - time.Second)
		if got := holdUpClosing(started, waiting, peers); len(got) > 0 {
			t.Errorf("before five minutes: %v", got)
		}
		time.Sleep(time.Second)
		got := holdUpClosing(started, waiting, peers)
		if want := []string{"dead", "forgotten"}; !slices.Equal(got, want) {
			t.Errorf("after five minutes: %v, want %v", got, want)
		}
		if a := closingAlarm(got); !strings.Contains(a, "dead, forgotten") || !strings.Contains(a, "worker evict") {
			t.Errorf("alarm %q: want the names and what ends it", a)
		}
		if a := closingAlarm(holdUpClosing(started, nil, peers)); a != "" {
			t.Errorf("nobody is waited for: %q", a)
		}
	})
}
