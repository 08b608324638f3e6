package shell

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/sqltext"
)

// dotCommand is a command of the shell itself.
type dotCommand struct {
	name, args, help string
	run              func(s *shell, ctx context.Context, args []string) error
}

func dotCommands() []dotCommand {
	return []dotCommand{
		{".tables", "[PATTERN]", "list the tables; PATTERN is as in LIKE", (*shell).tables},
		{".schema", "[TABLE]", "how tables and indexes are made", (*shell).schema},
		{".mode", "MODE", "print as " + strings.Join(modes(), ", "), (*shell).setMode},
		{".timer", "on|off", "tell how long each statement takes", (*shell).setTimer},
		{".help", "", "this list", (*shell).help},
		{".quit", "", "end the shell", func(*shell, context.Context, []string) error { return errQuit }},
		{".exit", "", "end the shell", func(*shell, context.Context, []string) error { return errQuit }},
	}
}

// Commands lists the dot-commands.
func Commands() []string {
	var out []string
	for _, c := range dotCommands() {
		out = append(out, c.name)
	}
	return out
}

func (s *shell) dot(ctx context.Context, line string) error {
	words := strings.Fields(strings.TrimSuffix(line, ";"))
	all := dotCommands()
	i := slices.IndexFunc(all, func(c dotCommand) bool { return c.name == words[0] })
	switch {
	case i < 0:
		return fmt.Errorf("there is no %s: see .help", words[0])
	case len(words) > 2 || len(words) > 1 && all[i].args == "":
		return fmt.Errorf("%s takes %s", words[0], strings.TrimSpace("only "+all[i].args))
	}
	return all[i].run(s, ctx, words[1:])
}

// notOwn leaves out what is SQLite's or the engine's own.
const notOwn = ` name NOT LIKE 'sqlite\_%' ESCAPE '\' AND name NOT LIKE '\_fb\_%' ESCAPE '\'`

// TablesSQL lists tables and views.
const TablesSQL = "SELECT name FROM sqlite_schema WHERE type IN ('table', 'view') AND" + notOwn + " ORDER BY name"

func (s *shell) tables(ctx context.Context, args []string) error {
	sql := TablesSQL
	if len(args) > 0 {
		sql = strings.Replace(sql, " ORDER", " AND name LIKE "+quote(args[0])+" ORDER", 1)
	}
	r, err := s.DB.Query(ctx, sql)
	if err != nil {
		return err
	}
	for _, row := range r.Rows {
		fmt.Fprintln(s.Out, printable(row[0].Text()))
	}
	return nil
}

func (s *shell) schema(ctx context.Context, args []string) error {
	sql := "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL AND type <> 'trigger' AND" + notOwn
	if len(args) > 0 {
		name := (sqltext.Token{Kind: sqltext.Name, Text: args[0]})
		if !strings.ContainsAny(args[0][:1], "\"`[") {
			name.Kind = sqltext.Word
		}
		sql += " AND tbl_name = " + quote(name.Ident()) + " COLLATE NOCASE"
	}
	r, err := s.DB.Query(ctx, sql+" ORDER BY tbl_name, type DESC, name")
	if err != nil {
		return err
	}
	if len(args) > 0 && len(r.Rows) == 0 {
		return fmt.Errorf("there is no table %s: see .tables", args[0])
	}
	for _, row := range r.Rows {
		if row[0].Type != record.Text {
			continue
		}
		for line := range strings.Lines(row[0].Data) {
			fmt.Fprint(s.Out, strings.ReplaceAll(printable(strings.TrimRight(strings.ReplaceAll(line, "\t", "    "), "\r\n")), "\n", ""))
			if strings.HasSuffix(line, "\n") {
				fmt.Fprintln(s.Out)
			}
		}
		fmt.Fprintln(s.Out, ";")
	}
	return nil
}

func (s *shell) setMode(_ context.Context, args []string) error {
	if len(args) == 0 || !slices.Contains(modes(), args[0]) {
		return fmt.Errorf(".mode takes one of %s", strings.Join(modes(), ", "))
	}
	s.Mode = Mode(args[0])
	return nil
}

func (s *shell) setTimer(_ context.Context, args []string) error {
	if len(args) == 0 || args[0] != "on" && args[0] != "off" {
		return fmt.Errorf(".timer takes on or off")
	}
	s.timer = args[0] == "on"
	return nil
}

func (s *shell) help(context.Context, []string) error {
	for _, c := range dotCommands() {
		fmt.Fprintf(s.Out, "%-18s %s\n", strings.TrimSpace(c.name+" "+c.args), c.help)
	}
	fmt.Fprintf(s.Out, "%-18s %s\n", "SQL ;", "a statement may span lines; one that writes is a transaction of its own")
	return nil
}

func quote(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }
