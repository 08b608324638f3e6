package cli_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/firebreak-dev/firebreak/internal/admin"
	"github.com/firebreak-dev/firebreak/internal/control"
	"github.com/firebreak-dev/firebreak/internal/identity"
	"github.com/firebreak-dev/firebreak/internal/store"
	adminpb "github.com/firebreak-dev/firebreak/proto/firebreak/admin/v1"
)

func TestClockResetSaysWhatIsVoidOrWhyItIsRefused(t *testing.T) {
	f := newFleet(t)
	switches, err := control.Open("", nil)
	if err != nil {
		t.Fatal(err)
	}
	answers := []func() (store.ClockReset, error){
		func() (store.ClockReset, error) {
			return store.ClockReset{}, fmt.Errorf("this host's clock is 1h0m0s ahead of the median of 3 peers: %w", store.ErrClock)
		},
		func() (store.ClockReset, error) {
			return store.ClockReset{Above: time.UnixMilli(1_780_272_000_000), Again: 3}, nil
		},
		func() (store.ClockReset, error) {
			return store.ClockReset{Above: time.UnixMilli(1_780_272_000_000), Again: 3}, nil
		},
	}
	addr := f.serve(identity.ID{Fleet: "acme", Role: identity.Node, Region: "iad", Name: "w1"}, func(s grpc.ServiceRegistrar) {
		adminpb.RegisterAdminServiceServer(s, admin.NewService(admin.Info{}, switches).WithClock(func(context.Context) (store.ClockReset, error) {
			next := answers[0]
			answers = answers[1:]
			return next()
		}))
	})
	flags := append([]string{"--node", addr}, f.as(identity.Operator)...)
	if out := run(t, "", words("clock reset", flags...)...); out.code != 1 || !strings.Contains(out.err, "ahead of the median") {
		t.Errorf("by a wrong clock: %+v", out)
	}
	if out := run(t, "", words("clock reset", flags...)...); out.code != 0 || !strings.Contains(out.out, "2026-06-01T00:00:00Z is void; 3 records") {
		t.Errorf("%+v", out)
	}
	if out := run(t, "", words("clock reset -o json", flags...)...); out.code != 0 || !strings.Contains(out.out, `"again": 3`) && !strings.Contains(out.out, `"again":3`) {
		t.Errorf("as JSON: %+v", out)
	}
}
