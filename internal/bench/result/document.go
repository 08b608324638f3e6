package result

import (
	"fmt"
	"strings"
)

// Splice returns doc with what stands between the lines "<!-- name -->" and
// "<!-- end name -->" replaced by text.
func Splice(doc, name, text string) (string, error) {
	begin, end := "<!-- "+name+" -->\n", "<!-- end "+name+" -->\n"
	head, rest, ok := strings.Cut(doc, begin)
	if !ok {
		return "", fmt.Errorf("no line %q", strings.TrimSpace(begin))
	}
	_, tail, ok := strings.Cut(rest, end)
	if !ok {
		return "", fmt.Errorf("no line %q", strings.TrimSpace(end))
	}
	return head + begin + text + end + tail, nil
}
