package region_test

import (
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	regionv1 "github.com/firebreak-dev/firebreak/proto/firebreak/region/v1"
)

// newestEnd asks something about an app.
func (n *node) newestEnd(app string) (ms int64, err error) {
	n.t.Helper()
	s, err := n.daemon.Query(within(n.t, 10*time.Second), &regionv1.QueryRequest{Sql: `SELECT 1`, App: app}, grpc.WaitForReady(true))
	for err == nil {
		var r *regionv1.QueryResponse
		if r, err = s.Recv(); r.GetEnd() != nil {
			return r.GetEnd().GetNewestEndAgeMs(), nil
		}
	}
	return 0, err
}

// A busy region ends something all the time: an answer about one app is judged
// by the ends of that app.
func TestAnswerAboutAnAppCarriesTheAgeOfThatAppsNewestEnd(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "w1")
	n := c.nodes["w1"]
	n.publish(mach("m1", "web"), mach("m2", "db"))
	if _, err := n.daemon.Withdraw(within(t, 10*time.Second), &regionv1.WithdrawRequest{Ids: []string{"m1"}}); err != nil {
		t.Fatal(err)
	}
	// Of db nothing ended; the node answers for the time before its start as if
	// something had ended then.
	eventually(t, "the end is seen", func() bool {
		web, err := n.newestEnd("web")
		db, err2 := n.newestEnd("db")
		anything, err3 := n.newestEnd("")
		if err != nil || err2 != nil || err3 != nil {
			t.Fatal(err, err2, err3)
		}
		return web < db && anything < db
	})
	if _, err := n.newestEnd("No App"); status.Code(err) != codes.InvalidArgument {
		t.Errorf("a name that is none = %v, want INVALID_ARGUMENT", err)
	}
}
