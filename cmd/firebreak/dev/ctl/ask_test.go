package ctl

import (
	"io"
	"net"
	"testing"
	"time"
)

// ask sends text and waits until the server has closed the connection.
func ask(t *testing.T, path, text string) {
	t.Helper()
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, text) // the server may close first
	_ = conn.(*net.UnixConn).CloseWrite()
	if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	_, _ = io.ReadAll(conn)
}
