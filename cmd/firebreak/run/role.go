package run

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/checkpointcmd"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/config"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/poison"
	"github.com/firebreak-dev/firebreak/global"
	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/identity"
	"github.com/firebreak-dev/firebreak/internal/mesh/quic"
	"github.com/firebreak-dev/firebreak/internal/store"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
	"github.com/firebreak-dev/firebreak/region"
	"github.com/firebreak-dev/firebreak/router"
)

// open opens the role of a file.
func open(ctx context.Context, f config.File, s shared) (node, error) {
	switch f := f.(type) {
	case *config.Region:
		return openRegion(ctx, f, s)
	case *config.Global:
		return openGlobal(ctx, f, s)
	case *config.Router:
		return openRouter(ctx, f, s)
	}
	return nil, fmt.Errorf("no role has a file of %T", f)
}

func openRegion(ctx context.Context, f *config.Region, s shared) (node, error) {
	g, err := config.ParseGeneration(f.Generation)
	if err != nil {
		return nil, err
	}
	token, err := httpToken(f.HTTP.TokenFile)
	if err != nil {
		return nil, err
	}
	child, err := checkpointChild()
	if err != nil {
		return nil, err
	}
	var trip func(string, store.Row)
	if s.bug != "" {
		trip = poison.Trip(s.bug, poison.Kill)
	}
	return region.New(ctx, region.Config{
		Fleet: f.Fleet, Region: fleet.Region(f.Region), Node: s.worker(), Locality: f.Locality,
		Generation: quic.Generation{Number: g.Number, Bits: g.Bits},
		Data:       f.Data, Identity: s.identity, Seeds: f.Gossip.Seeds,
		Gossip: f.Gossip.Listen, GossipAdvertise: f.Gossip.Advertise,
		GRPC: f.GRPC.Listen, GRPCAdvertise: f.GRPC.Advertise, Socket: f.Socket, Admin: f.Admin,
		HTTP: f.HTTP.Listen, HTTPToken: token,
		Gateway: s.identity.ID().Role == identity.Gateway, Globals: f.Globals,
		CheckpointDir: f.Checkpoint.Dir, CheckpointChild: child,
		Durability: durability(f.Durability), Control: f.Control, Schema: f.Schema, Trip: trip,
		Logger: s.log, Registry: s.registry, Version: s.version, Network: s.network,
	})
}

// httpToken reads the bearer token of the HTTP API.
func httpToken(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("http.token_file: %w", err)
	}
	token := strings.TrimSpace(string(b))
	if token == "" {
		return "", fmt.Errorf("http.token_file: %s is empty; without a token leave the key out", path)
	}
	return token, nil
}

func openGlobal(ctx context.Context, f *config.Global, s shared) (node, error) {
	return global.New(ctx, global.Config{
		Fleet: f.Fleet, Node: s.worker(), Locality: f.Locality, Data: f.Data, Identity: s.identity,
		Gossip: f.Gossip.Listen, GossipAdvertise: f.Gossip.Advertise, Seeds: f.Gossip.Seeds,
		GRPC: f.GRPC.Listen, GRPCAdvertise: f.GRPC.Advertise, Admin: f.Admin,
		Control: f.Control, Durability: durability(f.Durability), BrakeObserve: f.Brake == "observe",
		Logger: s.log, Registry: s.registry, Version: s.version, Network: s.network,
	})
}

func openRouter(ctx context.Context, f *config.Router, s shared) (node, error) {
	return router.New(ctx, router.Config{
		Fleet: f.Fleet, Node: s.worker(), Locality: f.Locality, Data: f.Data, Identity: s.identity,
		GRPC: f.GRPC.Listen, GRPCAdvertise: f.GRPC.Advertise, Admin: f.Admin,
		Globals: f.Globals, Control: f.Control,
		Logger: s.log, Registry: s.registry, Version: s.version, Network: s.network,
	})
}

func durability(word string) sqlite.Durability {
	if word == "os" {
		return sqlite.OS
	}
	return sqlite.Fsync
}

// checkpointChild is this binary, as a checkpoint child.
func checkpointChild() ([]string, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	return append([]string{self}, checkpointcmd.ChildCommand()...), nil
}
