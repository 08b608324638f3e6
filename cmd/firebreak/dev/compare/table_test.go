package compare

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTheTableIsMarkdown(t *testing.T) {
	var b strings.Builder
	err := Table{
		Fault: "storm region iad", Regions: 3, Workers: 3,
		TwoLevels: Side{Nodes: 9, Touched: 3, Rows: 100, Bytes: 900, Requests: 50},
		Flat:      Side{Nodes: 9, Touched: 9, Rows: 300, Bytes: 20 << 20, Restarts: 1, Requests: 50, Failed: 2},
	}.Write(&b)
	want := `| storm region iad, 3 regions × 3 workers | two levels | one flat cluster |
|---                                      |---         |---               |
| region nodes touched                    | 3 of 9     | 9 of 9           |
| rows written                            | 100        | 300              |
| bytes between region nodes              | 900 B      | 20 MiB           |
| restarts                                | 0          | 1                |
| failed requests                         | 0 of 50    | 2 of 50          |
`
	if diff := cmp.Diff(want, b.String()); diff != "" || err != nil {
		t.Errorf("(-want +got):\n%s%v", diff, err)
	}
}
