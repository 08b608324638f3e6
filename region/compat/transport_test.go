package compat_test

import (
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"testing"

	"github.com/firebreak-dev/firebreak/region/compat"
)

// curl sends a request in a way of its own and returns the answer.
func (s *server) curl(stdin string, args ...string) string {
	s.t.Helper()
	args = append([]string{"-sS", "--max-time", "60", "-H", "content-type: application/json", "--data-binary", "@-"}, args...)
	cmd := exec.Command("curl", args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		s.t.Fatalf("curl %v: %v\n%s", args, err, out)
	}
	return blot(string(out))
}

// However a request comes, it is answered rightly, and done once.
func TestCurlInEveryWay(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("needs curl, whose ways of asking these are")
	}
	s := newServer(t, compat.Config{})
	base := "http://" + s.addr + "/v1/"
	large := strings.Repeat("x", 900<<10)
	for name, how := range map[string][]string{
		"upgrade": {"--http2"}, "prior knowledge": {"--http2-prior-knowledge"}, "1.1": {"--http1.1"},
		"chunked": {"--http1.1", "-H", "Transfer-Encoding: chunked"}, "expect": {"--http1.1", "-H", "Expect: 100-continue"},
		"expect, chunked": {"--http1.1", "-H", "Expect: 100-continue", "-H", "Transfer-Encoding: chunked"},
	} {
		t.Run(name, func(t *testing.T) {
			s := *s
			s.t = t
			// Rows are of 64 KiB at most, so a large body is many.
			var rows []string
			for i := range 15 {
				rows = append(rows, fmt.Sprintf(`["INSERT INTO types (id, t) VALUES (?, ?)", ["%s %d", "%s"]]`, name, i, large[:60<<10]))
			}
			got := s.curl("["+strings.Join(rows, ",")+"]", append(how, base+"transactions")...)
			if strings.Count(got, `"rows_affected":1`) != 15 || !strings.Contains(got, `"version":`) {
				t.Fatalf("transaction: %.300s", got)
			}
			body := fmt.Sprintf(`["SELECT count(*), sum(length(t)) FROM types WHERE id LIKE ?", ["%s %%"]]`, name)
			want := fmt.Sprintf("{\"row\":[1,[15,%d]]}\n", 15*(60<<10))
			if got := s.curl(body, append(how, base+"queries")...); !strings.Contains(got, want) {
				t.Errorf("query: %s", got)
			}
		})
	}
	// Twenty on one connection.
	var urls []string
	for range 20 {
		urls = append(urls, base+"queries")
	}
	args := append([]string{"--http1.1", "-w", "%{num_connects} "}, urls...)
	if got := s.curl(`"SELECT 42"`, args...); strings.Count(got, "[1,[42]]") != 20 || strings.Count(got, "\n0 ") < 19 {
		t.Errorf("twenty on one connection: %s", got)
	}
}

// As many statements as may be, and one more. A slow machine may run out of the
// second that a transaction has: then nothing is kept.
func TestTenThousandStatements(t *testing.T) {
	s := newServer(t, compat.Config{})
	list := func(n int) string {
		const one = `"INSERT INTO machines (id) VALUES ('one') ON CONFLICT DO UPDATE SET port = coalesce(port, 0) + 1",`
		return "[" + strings.TrimSuffix(strings.Repeat(one, n), ",") + "]"
	}
	status, text := s.ask("POST", "/v1/transactions", list(10_000))
	_, after := s.ask("POST", "/v1/queries", `"SELECT count(*), max(port) FROM machines"`)
	n := strings.Count(text, `"rows_affected":1`)
	kept := status == http.StatusOK && n == 10_000 && strings.Contains(after, "[1,[1,9999]]")
	over := status == http.StatusInternalServerError && n == 0 && strings.Contains(text, "over the limit of 1s") && strings.Contains(after, "[1,[0,null]]")
	if !kept && !over {
		t.Errorf("%d, %d results, then %s: %.200s", status, n, after, text)
	}
	if status, text := s.ask("POST", "/v1/transactions", list(10_001)); status != http.StatusInternalServerError || !strings.Contains(text, "10001 statements are over the limit") {
		t.Errorf("one more: %d %.200s", status, text)
	}
	s.write(`["INSERT INTO machines (id) VALUES ('after')"]`)
}

// Streams that nobody reads from, and more of them than one connection may
// have, leave the node serving others.
func TestManyQuietSubscriptions(t *testing.T) {
	s := newServer(t, compat.Config{})
	var quiet []*lines
	for i := range 600 {
		quiet = append(quiet, s.stream(h2, "POST", "/v1/subscriptions", fmt.Sprintf(`["SELECT id, port FROM machines WHERE app = ?", ["app%d"]]`, i)))
	}
	s.write(`["INSERT INTO machines (id, app, port) VALUES ('m1', 'app7', 80)"]`)
	quiet[7].expect(`{"columns":["id","port"]}`, `{"eoq":{"time":T,"change_id":0}}`, `{"change":["insert",1,["m1",80],1]}`)
	for _, q := range quiet {
		q.res.Body.Close()
	}
	if status, text := s.ask("POST", "/v1/queries", `"SELECT count(*) FROM machines"`); status != http.StatusOK || !strings.Contains(text, "[1,[1]]") {
		t.Errorf("after the flood: %d %s", status, text)
	}
}
