// Command seeds runs the federation under the simulator for many seeds and says
// in its last line what it ran. It fails if a property broke, if a second run
// of a seed took another course, or if a state was never reached that a run
// must have reached to be evidence.
package main

import (
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/fedsim"
	"github.com/firebreak-dev/firebreak/internal/sim"
)

func main() {
	var p fedsim.Plan
	flag.Uint64Var(&p.Seed, "seed", 1, "the first seed")
	flag.IntVar(&p.Seeds, "seeds", 1, "how many seeds")
	flag.IntVar(&p.Regions, "regions", 0, "regions; 0 means the default")
	flag.IntVar(&p.Nodes, "nodes", 0, "nodes of a region; 0 means the default")
	flag.IntVar(&p.Globals, "globals", 0, "global nodes; 0 means the default, negative none")
	flag.IntVar(&p.Actions, "actions", 0, "actions of a script; 0 means the default")
	flag.DurationVar(&p.Spread, "spread", 0, "virtual time over which they come; 0 means the default")
	flag.BoolVar(&p.Once, "once", false, "run each seed once, not twice")
	flag.BoolVar(&p.Closing, "closing", true, "nodes close their earlier starts, collect tombstones and list")
	flag.BoolVar(&p.SQLite, "sqlite", false, "stores are real databases, in a folder for temporary files")
	flag.BoolVar(&p.Later, "later", true, "every fourth seed goes on eight days later, with shared tombstones collected")
	flag.BoolVar(&p.Path, "path", true, "every fourth seed, and those that are played without a region, have reporters, directories and a router too")
	flag.BoolVar(&p.Whole, "whole", false, "do not make the script of a failure smaller")
	script := flag.String("script", "", "perform the script of this file, as a failure prints it, not the seed's own")
	bound := flag.Duration("for", 0, "begin no seed after so long; 0 means no bound")
	must := flag.Bool("must-hit", false, "fail if a state on the list was never reached")
	verbose := flag.Bool("v", false, "print the states that were reached and the checks that were made")
	flag.Parse()
	if *bound > 0 {
		p.Until = time.Now().Add(*bound)
	}
	if *script != "" {
		var err error
		if p.Script, err = read(*script); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
	}
	os.Exit(run(p, *must, *verbose))
}

func read(file string) (sim.Script, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	return sim.ParseScript(string(text))
}

func run(p fedsim.Plan, must, verbose bool) int {
	sum := fedsim.Execute(p)
	if verbose {
		fmt.Print(sum.Table())
	}
	code := 0
	if sum.Failed != nil {
		fmt.Printf("FAILED: %v\n", sum.Failed)
		code = 1
	}
	if missing := sum.Hits.Missing(fedsim.MustHit(p.Closing)); must && len(missing) > 0 {
		fmt.Printf("FAILED: the run is no evidence, for it never reached: %q\n", missing)
		code = 1
	}
	fmt.Println(sum)
	return code
}
