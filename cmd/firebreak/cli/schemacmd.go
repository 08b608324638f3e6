package cli

import (
	"context"
	"errors"
	"fmt"
	"os/user"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/devfile"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/exit"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
	regionpb "github.com/firebreak-dev/firebreak/proto/firebreak/region/v1"
)

func (e *env) schemaCommand() *cobra.Command {
	c := &cobra.Command{Use: "schema", Short: "The tables of a region's users", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	c.AddCommand(e.schemaPlanCommand(), e.schemaApplyCommand(), e.schemaStatusCommand(), e.schemaHistoryCommand(), e.schemaLintCommand())
	return c
}

func (e *env) schemaPlanCommand() *cobra.Command {
	return e.asks(&cobra.Command{
		Use: "plan DIR", Short: "Say what a load of schema files would change, and what it costs", Args: cobra.ExactArgs(1),
		Long: `Say what a load of the directory's *.sql would change: the difference to what the
node that is asked has last loaded. Nothing is changed. The hash is for apply.`,
		RunE: func(c *cobra.Command, args []string) error {
			return e.onSchema(c.Context(), args[0], func(ctx context.Context, r regionpb.RegionServiceClient, files []*regionpb.SchemaFile) error {
				p, err := r.PlanSchema(ctx, &regionpb.PlanSchemaRequest{Files: files})
				if err != nil {
					return err
				}
				return e.printPlan(p.GetPlan())
			})
		},
	})
}

func (e *env) schemaApplyCommand() *cobra.Command {
	var hash, who string
	c := e.asks(&cobra.Command{
		Use: "apply DIR", Short: "Load schema files at one node of a region; the others follow", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return e.onSchema(c.Context(), args[0], func(ctx context.Context, r regionpb.RegionServiceClient, files []*regionpb.SchemaFile) error {
				p, err := r.ApplySchema(ctx, &regionpb.ApplySchemaRequest{Files: files, Hash: hash, Who: who})
				if err != nil {
					return err
				}
				return e.printPlan(p.GetPlan())
			})
		},
	})
	me := ""
	if u, err := user.Current(); err == nil {
		me = u.Username
	}
	c.Flags().StringVar(&hash, "plan", "", "hash of the plan: refused if the schema or the files have moved since; empty applies whatever the difference is")
	c.Flags().StringVar(&who, "who", me, "who applies it, for the history")
	return c
}

func (e *env) schemaStatusCommand() *cobra.Command {
	return e.asks(&cobra.Command{
		Use: "status", Short: "Say how far nodes are with the schema. 4: not all have all of it in effect", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(c.Context(), e.timeout)
			defer cancel()
			places, d, err := e.target.nodesToAsk("region", func(n devfile.Node) bool { return n.Role == "region" })
			if err != nil {
				return err
			}
			var all []*regionpb.SchemaStatusResponse
			for _, p := range places {
				err := e.askFirst(ctx, "region", []place{p}, d, func(ctx context.Context, conn *grpc.ClientConn, _ place) error {
					s, err := regionpb.NewRegionServiceClient(conn).SchemaStatus(ctx, &regionpb.SchemaStatusRequest{})
					all = append(all, s)
					return err
				})
				if err != nil {
					return err
				}
			}
			return e.printSchemaStatus(all)
		},
	})
}

func (e *env) schemaHistoryCommand() *cobra.Command {
	return e.asks(&cobra.Command{
		Use: "history", Short: "List the last change of each part of the schema, latest first", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return e.onRegion(c.Context(), func(ctx context.Context, r regionpb.RegionServiceClient) error {
				h, err := r.SchemaHistory(ctx, &regionpb.SchemaHistoryRequest{})
				if err != nil {
					return err
				}
				return e.printHistory(h.GetChanges())
			})
		},
	})
}

func (e *env) schemaLintCommand() *cobra.Command {
	return e.prints(&cobra.Command{
		Use: "lint DIR", Short: "Check schema files without a node", Args: cobra.ExactArgs(1),
		Long: `Check the directory's *.sql without a node: whether they load into an empty
region. Files written for Corrosion load as shared tables, whose later write wins
whole; what Corrosion takes and Firebreak does not is named with what to do.`,
		RunE: func(_ *cobra.Command, args []string) error {
			var warnings []string
			files, err := sqlite.ReadSchemaDir(args[0])
			if err == nil {
				warnings, err = sqlite.LintFiles(files)
			}
			if err != nil {
				return exit.With(exit.Usage, err)
			}
			if e.format != formatTable {
				return e.json(struct {
					Files    int      `json:"files"`
					Warnings []string `json:"warnings"`
				}{len(files), append([]string{}, warnings...)})
			}
			for _, w := range warnings {
				e.note("%s", w)
			}
			_, err = fmt.Fprintf(e.out, "files that load into an empty region: %d\n", len(files))
			return err
		},
	})
}

// onRegion runs ask on one region node.
func (e *env) onRegion(ctx context.Context, ask func(context.Context, regionpb.RegionServiceClient) error) error {
	if e.target.node == "" && e.target.socket == "" {
		return exit.With(exit.Usage, errors.New("this command asks one region node: give --node or --socket"))
	}
	ctx, cancel := context.WithTimeout(ctx, e.timeout)
	defer cancel()
	places, d, err := e.target.nodesToAsk("region", nil)
	if err != nil {
		return err
	}
	return e.askFirst(ctx, "region", places, d, func(ctx context.Context, conn *grpc.ClientConn, _ place) error {
		return ask(ctx, regionpb.NewRegionServiceClient(conn))
	})
}

// onSchema is onRegion with the files of a directory. What they are refused for
// is the caller's to mend.
func (e *env) onSchema(ctx context.Context, dir string, ask func(context.Context, regionpb.RegionServiceClient, []*regionpb.SchemaFile) error) error {
	files, err := sqlite.ReadSchemaDir(dir)
	if err != nil {
		return exit.With(exit.Usage, err)
	}
	send := make([]*regionpb.SchemaFile, len(files))
	for i, f := range files {
		send[i] = &regionpb.SchemaFile{Name: f.Name, Sql: f.SQL}
	}
	return e.onRegion(ctx, func(ctx context.Context, r regionpb.RegionServiceClient) error {
		err := ask(ctx, r, send)
		if s := status.Convert(err); s.Code() == codes.InvalidArgument || s.Code() == codes.FailedPrecondition {
			return exit.With(exit.Usage, errors.New(s.Message()))
		}
		return err
	})
}

// schemaStep is one step of a plan, or one that waits.
type schemaStep struct {
	Act     string `json:"act"`
	Table   string `json:"table"`
	Name    string `json:"name,omitempty"`
	SQL     string `json:"sql,omitempty"`
	Rows    int64  `json:"rows"`
	PauseUS int64  `json:"pause_us"` // for which writes of a node wait
	Due     int64  `json:"due_unix_ms,omitempty"`
	Why     string `json:"why,omitempty"`
}

func stepsOf(in []*regionpb.SchemaStep) []schemaStep {
	out := []schemaStep{}
	for _, s := range in {
		out = append(out, schemaStep{s.GetAct(), s.GetTable(), s.GetName(), s.GetSql(), s.GetRows(), s.GetPauseUs(), s.GetDueUnixMs(), s.GetWhy()})
	}
	return out
}

// schemaPlan is what a load changes.
type schemaPlan struct {
	Hash  string       `json:"hash"`
	Steps []schemaStep `json:"steps"`
	Notes []string     `json:"notes"`
}

func (e *env) printPlan(p *regionpb.SchemaPlan) error {
	out := schemaPlan{p.GetHash(), stepsOf(p.GetSteps()), append([]string{}, p.GetNotes()...)}
	if e.format != formatTable {
		return e.json(out)
	}
	var rows [][]string
	for _, s := range out.Steps {
		rows = append(rows, []string{s.Act, s.Table, s.Name, strconv.FormatInt(s.Rows, 10), pauseText(s.PauseUS), s.SQL})
	}
	for _, n := range out.Notes {
		e.note("%s", n)
	}
	if err := e.table([]string{"STEP", "TABLE", "NAME", "ROWS", "PAUSE", "SQL"}, rows); err != nil {
		return err
	}
	_, err := fmt.Fprintf(e.out, "plan %s\n", out.Hash)
	return err
}

func pauseText(us int64) string {
	if us == 0 {
		return "none"
	}
	return "about " + (time.Duration(us) * time.Microsecond).Round(time.Millisecond).String()
}

// schemaIdle is a part of the schema that cannot be in effect.
type schemaIdle struct {
	What  string `json:"what"`
	Table string `json:"table"`
	Name  string `json:"name"`
	Why   string `json:"why"`
}

// schemaStatus is how far one node is with the schema.
type schemaStatus struct {
	Region   string       `json:"region"`
	Node     string       `json:"node"`
	Received string       `json:"received"` // equal on nodes that have received the same definitions
	Effect   string       `json:"effect"`   // equal on nodes whose tables are the same
	Skewed   bool         `json:"skewed"`   // not all of it is in effect, or other nodes have another
	Tables   []string     `json:"tables"`
	Pending  []schemaStep `json:"pending"`
	Idle     []schemaIdle `json:"idle"`
	Hidden   []string     `json:"hidden"`
	Withheld uint64       `json:"withheld"`
	Refused  string       `json:"refused"`
}

func (e *env) printSchemaStatus(all []*regionpb.SchemaStatusResponse) error {
	list, skewed := []schemaStatus{}, false
	first := map[string]*regionpb.SchemaStatusResponse{} // by region
	for _, s := range all {
		if first[s.GetRegion()] == nil {
			first[s.GetRegion()] = s
		}
		one := first[s.GetRegion()]
		n := schemaStatus{
			Region: s.GetRegion(), Node: s.GetNode(), Received: s.GetReceived(), Effect: s.GetEffect(), Tables: append([]string{}, s.GetTables()...),
			Pending: stepsOf(s.GetPending()), Idle: []schemaIdle{}, Hidden: append([]string{}, s.GetHidden()...), Withheld: s.GetWithheld(), Refused: s.GetRefused(),
			Skewed: s.GetEffect() != one.GetEffect() || s.GetReceived() != one.GetReceived() || len(s.GetPending()) > 0,
		}
		for _, x := range s.GetIdle() {
			n.Idle = append(n.Idle, schemaIdle{x.GetWhat(), x.GetTable(), x.GetName(), x.GetWhy()})
		}
		skewed = skewed || n.Skewed || n.Refused != "" || len(n.Idle) > 0
		list = append(list, n)
	}
	if err := e.writeSchemaStatus(list); err != nil {
		return err
	}
	if skewed {
		return exit.With(exit.Partial, errors.New("the schema is not the same, or not all of it in effect, at these nodes"))
	}
	return nil
}

func (e *env) writeSchemaStatus(list []schemaStatus) error {
	if e.format != formatTable {
		return e.json(struct {
			Nodes []schemaStatus `json:"nodes"`
		}{list})
	}
	var rows [][]string
	for _, n := range list {
		rows = append(rows, []string{n.Region, n.Node, n.Received, n.Effect, strconv.Itoa(len(n.Tables)), strconv.Itoa(len(n.Pending)), strconv.Itoa(len(n.Idle)), strconv.FormatUint(n.Withheld, 10)})
		for _, p := range n.Pending {
			e.note("%s: waits: %s %s %s (%s)", n.Node, p.Act, p.Table, p.Name, pauseText(p.PauseUS))
		}
		for _, x := range n.Idle {
			e.note("%s: not in effect: %s %s %s: %s", n.Node, x.What, x.Table, x.Name, x.Why)
		}
		if n.Refused != "" {
			e.note("%s: schema files are not loaded: %s", n.Node, n.Refused)
		}
	}
	return e.table([]string{"REGION", "NODE", "RECEIVED", "EFFECT", "TABLES", "PENDING", "IDLE", "WITHHELD"}, rows)
}

// schemaChange is the last change of one part of the schema.
type schemaChange struct {
	What   string `json:"what"`
	Table  string `json:"table"`
	Name   string `json:"name"`
	Number uint64 `json:"number"`
	There  bool   `json:"there"`
	SQL    string `json:"sql"`
	Who    string `json:"who"`
	Node   string `json:"node"`
	At     int64  `json:"at_unix_ms"`
}

func (e *env) printHistory(changes []*regionpb.SchemaChange) error {
	list := []schemaChange{}
	for _, c := range changes {
		list = append(list, schemaChange{c.GetWhat(), c.GetTable(), c.GetName(), c.GetNumber(), c.GetNumber()%2 == 0, c.GetSql(), c.GetWho(), c.GetNode(), c.GetUnixMs()})
	}
	if e.format != formatTable {
		return e.json(struct {
			Changes []schemaChange `json:"changes"`
		}{list})
	}
	var rows [][]string
	for _, c := range list {
		state := "there"
		if !c.There {
			state = "dropped"
		}
		rows = append(rows, []string{time.UnixMilli(c.At).UTC().Format(time.RFC3339), c.Who, c.Node, c.What, c.Table, c.Name, strconv.FormatUint(c.Number, 10), state})
	}
	return e.table([]string{"AT", "WHO", "NODE", "WHAT", "TABLE", "NAME", "NUMBER", "STATE"}, rows)
}
