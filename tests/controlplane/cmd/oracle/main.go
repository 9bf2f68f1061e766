// kube-scheduler's own default plugins over clusters given as manifests: per pending pod the nodes
// that may take it, their scores, and why the others may not. No API server, no clock, no queue.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"os"

	"k8s.io/klog/v2"
)

func main() {
	klog.InitFlags(nil)
	each := flag.Bool("each", false, "every file is a cluster of its own")
	sequence := flag.Bool("sequence", false, "judged pods are placed, and later ones see them")
	placed := flag.String("placed", "", "JSON lines that say where pods go with -sequence")
	flag.Parse()
	if err := run(flag.Args(), *each, *sequence || *placed != "", *placed); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
}

func run(paths []string, each, sequence bool, placed string) error {
	files, err := listed(paths)
	if err != nil {
		return err
	}
	given, err := placements(placed)
	if err != nil {
		return err
	}
	judge, err := newJudge()
	if err != nil {
		return err
	}
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	for _, group := range grouped(files, each) {
		cluster, err := read(group)
		if err != nil {
			return err
		}
		verdicts, err := judge.cluster(cluster, sequence, given)
		if err != nil {
			return fmt.Errorf("%s: %w", group[0], err)
		}
		encoder := json.NewEncoder(out)
		for _, verdict := range verdicts {
			verdict.File = group[0]
			if err := encoder.Encode(verdict); err != nil {
				return err
			}
		}
	}
	return nil
}

func grouped(files []string, each bool) [][]string {
	if !each {
		return [][]string{files}
	}
	groups := make([][]string, len(files))
	for i, file := range files {
		groups[i] = []string{file}
	}
	return groups
}

// placements reads where another scheduler put pods: by file, or by "" for all, then by pod.
func placements(path string) (map[string]map[string]string, error) {
	if path == "" {
		return nil, nil
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	given := map[string]map[string]string{}
	decoder := json.NewDecoder(file)
	for decoder.More() {
		var line struct{ File, Pod, Node string }
		if err := decoder.Decode(&line); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if given[line.File] == nil {
			given[line.File] = map[string]string{}
		}
		given[line.File][line.Pod] = line.Node
	}
	return given, nil
}
