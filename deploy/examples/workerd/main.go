// Command workerd is a worker daemon in about sixty lines: it keeps what runs
// on its host in its own bbolt file, and heals any drift with one call. A line
// of standard input is a machine as JSON (started), or "-ID" (stopped).
package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"strings"

	bolt "go.etcd.io/bbolt"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protojson"

	regionv1 "github.com/firebreak-dev/firebreak/proto/firebreak/region/v1"
)

var bucket = []byte("machines")

func main() {
	socket := flag.String("socket", "/run/firebreak/node.sock", "the node's unix socket")
	file := flag.String("db", "workerd.db", "this daemon's own database")
	flag.Parse()
	db, err := bolt.Open(*file, 0o600, nil)
	check(err)
	check(db.Update(func(tx *bolt.Tx) error { _, err := tx.CreateBucketIfNotExists(bucket); return err }))
	conn, err := grpc.NewClient("unix://"+*socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	check(err)
	node := regionv1.NewRegionServiceClient(conn)
	check(reconcile(node, db)) // whatever happened while we were away
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		check(remember(db, in.Text()))
		check(reconcile(node, db))
	}
}

// remember keeps a change before anyone is told of it.
func remember(db *bolt.DB, line string) error {
	return db.Update(func(tx *bolt.Tx) error {
		if id, stopped := strings.CutPrefix(line, "-"); stopped {
			return tx.Bucket(bucket).Delete([]byte(id))
		}
		m := new(regionv1.Machine)
		if err := protojson.Unmarshal([]byte(line), m); err != nil {
			return err
		}
		return tx.Bucket(bucket).Put([]byte(m.Id), []byte(line))
	})
}

// reconcile tells the node everything that runs here. It may be repeated at
// any time: an unchanged list writes nothing.
func reconcile(node regionv1.RegionServiceClient, db *bolt.DB) error {
	stream, err := node.Reconcile(context.Background())
	check(err)
	options := &regionv1.ReconcileOptions{AllowShrink: true} // for this daemon stopping the last machine is normal
	check(stream.Send(&regionv1.ReconcileRequest{Part: &regionv1.ReconcileRequest_Options{Options: options}}))
	check(db.View(func(tx *bolt.Tx) error {
		return tx.Bucket(bucket).ForEach(func(_, line []byte) error {
			m := new(regionv1.Machine)
			check(protojson.Unmarshal(line, m))
			m.State = regionv1.MachineState_MACHINE_STATE_STARTED
			return stream.Send(&regionv1.ReconcileRequest{Part: &regionv1.ReconcileRequest_Machine{Machine: m}})
		})
	}))
	answer, err := stream.CloseAndRecv()
	if err == nil {
		fmt.Printf("changed %d, unchanged %d, ended %d\n", answer.Written.GetChanged(), answer.Written.GetUnchanged(), len(answer.Ended)+len(answer.Pending))
	}
	return err
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
