package schema

// The rules of changes. They hold whatever a table holds now: else the rows of
// one node would decide what the others may do.
const (
	RuleNewNotNull      Rule = "new-not-null"           // a new column that is NOT NULL without a constant default
	RuleNewExpression   Rule = "new-expression-default" // a new column whose default is an expression
	RuleNewStored       Rule = "new-stored"             // a new generated column that is STORED
	RuleCheckChange     Rule = "check-change"           // a CHECK on a table that is there
	RuleColumnChange    Rule = "column-change"          // another type, default, collation or NOT NULL of a column that is there
	RuleGeneratedChange Rule = "generated-change"       // another expression of a generated column that is there
	RuleKeyChange       Rule = "key-change"             // another key of a table that is there
	RuleKindChange      Rule = "kind-change"            // owned, shared and local do not become each other
	RuleOptionChange    Rule = "option-change"          // STRICT and WITHOUT ROWID of a table that is there
	RuleColumnUsed      Rule = "column-used"            // a dropped column that something needs
	RuleNameTaken       Rule = "name-taken"             // a name that another table or index has
	RuleLocalChange     Rule = "local-change"           // another statement of a local table that is there
	RuleRanked          Rule = "ranked"                 // a ranked table of a user
	RuleNumber          Rule = "number"                 // dropped and made again too often
	RuleLimit           Rule = "limit"                  // too many tables, columns or indexes
)

// ChangeRules are the rules of changes, in the order of their sections.
var ChangeRules = [...]Rule{
	RuleNewNotNull, RuleNewExpression, RuleNewStored, RuleCheckChange, RuleColumnChange, RuleGeneratedChange, RuleKeyChange,
	RuleKindChange, RuleOptionChange, RuleColumnUsed, RuleNameTaken, RuleLocalChange, RuleRanked, RuleNumber, RuleLimit,
}
