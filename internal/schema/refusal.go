package schema

import (
	"fmt"
	"strings"
)

// Rule is the name of a rule by which something is refused. Each has a section
// of docs/reference/limits.md.
type Rule string

// The rules of schema files.
const (
	RuleStatement    Rule = "statement"     // a statement that no schema file holds
	RuleSyntax       Rule = "syntax"        // SQLite does not take it
	RuleName         Rule = "name"          // reserved, taken or unusable names
	RuleMark         Rule = "mark"          // a firebreak comment that is not understood
	RuleNoKey        Rule = "no-key"        // no primary key
	RuleNullableKey  Rule = "nullable-key"  // a key column that may be NULL
	RuleChosenKey    Rule = "chosen-key"    // AUTOINCREMENT, or a key that SQLite chooses
	RuleRealKey      Rule = "real-key"      // REAL in a key
	RuleKeyCollation Rule = "key-collation" // another collation than BINARY in a key
	RuleOwner        Rule = "owner-column"  // the owner is not the first of the key, or no text
	RuleRank         Rule = "rank-columns"  // rank columns that are missing or may be NULL
	RuleUnique       Rule = "unique"        // unique beyond the key
	RuleForeignKey   Rule = "foreign-key"   // REFERENCES, FOREIGN KEY
	RuleConflict     Rule = "on-conflict"   // ON CONFLICT in a constraint
	RuleColumns      Rule = "columns"       // too many columns
	RuleColumnType   Rule = "column-type"   // a type that cannot be written down again
	RuleDefault      Rule = "default"       // a default that its column refuses
	RuleView         Rule = "view"          // CREATE VIEW
	RuleTrigger      Rule = "trigger"       // CREATE TRIGGER
	RuleDropIndex    Rule = "drop-index"    // DROP INDEX without IF EXISTS, or of one that the file makes
)

// FileRules are the rules of schema files, in the order of their sections.
var FileRules = [...]Rule{
	RuleStatement, RuleSyntax, RuleName, RuleMark, RuleNoKey, RuleNullableKey, RuleChosenKey, RuleRealKey, RuleKeyCollation,
	RuleOwner, RuleRank, RuleUnique, RuleForeignKey, RuleConflict, RuleColumns, RuleColumnType, RuleDefault,
	RuleView, RuleTrigger, RuleDropIndex,
}

// Refusal says what is refused, by which rule, and what to do instead.
type Refusal struct {
	Rule  Rule
	Line  int    // of the file; zero if there is none
	Table string // empty if it is about none
	Why   string
	Do    string // what to do instead; empty if that is plain
}

func (r *Refusal) Error() string {
	var b strings.Builder
	if r.Line > 0 {
		fmt.Fprintf(&b, "line %d: ", r.Line)
	}
	if r.Table != "" {
		fmt.Fprintf(&b, "table %s: ", r.Table)
	}
	b.WriteString(r.Why)
	if r.Do != "" {
		b.WriteString(": " + r.Do)
	}
	fmt.Fprintf(&b, " (rule %s)", r.Rule)
	return b.String()
}
