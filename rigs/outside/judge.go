// Judges checkpoints, proofs and tiles with golang.org/x/mod/sumdb/{note,tlog}: each line of the
// standard input is a question in JSON, and each line of the output says whether it holds.
//
//	apt-get install golang-go golang-golang-x-mod-dev
//	GO111MODULE=off GOPATH=/usr/share/gocode go build -o judge judge.go
//
// These packages know Ed25519 signatures of logs only: lines of witnesses and of other keys are
// unknown to them, and ignored.
package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// What is asked. In JSON, bytes are base64.
type question struct {
	Verb   string `json:"verb"`   // checkpoint, inclusion, consistency, tiles
	Vkey   string `json:"vkey"`   // of the log
	File   []byte `json:"file"`   // a checkpoint; or a proof file; or a body of add-checkpoint
	Entry  []byte `json:"entry"`  // inclusion: the bytes of the leaf
	Older  []byte `json:"older"`  // consistency: the older checkpoint
	Folder string `json:"folder"` // tiles: where tile/ is
	Index  int64  `json:"index"`  // tiles: of which entry the inclusion path is wanted
	Old    int64  `json:"old"`    // tiles: from which size the consistency path is wanted
}

type verdict struct {
	Holds       bool     `json:"holds"`
	Why         string   `json:"why"`
	Size        int64    `json:"size"`
	Inclusion   []string `json:"inclusion"`
	Consistency []string `json:"consistency"`
}

func judge(asked question) (verdict, error) {
	said := verdict{}
	checkpoint, lines := asked.File, []string(nil)
	if asked.Verb == "inclusion" || asked.Verb == "consistency" {
		at := bytes.Index(asked.File, []byte("\n\n"))
		if at < 0 {
			return said, errors.New("no empty line")
		}
		lines = strings.Split(string(asked.File[:at]), "\n")
		checkpoint = asked.File[at+2:]
	}
	tree, err := treeOf(asked.Vkey, checkpoint)
	if err != nil {
		return said, err
	}
	said.Size = tree.N
	switch asked.Verb {
	case "checkpoint":
		return said, nil
	case "inclusion":
		return said, inclusion(tree, lines, asked.Entry)
	case "consistency":
		older, err := treeOf(asked.Vkey, asked.Older)
		if err != nil {
			return said, err
		}
		return said, consistency(tree, older, lines)
	case "tiles":
		return tiles(tree, asked)
	}
	return said, errors.New("no such verb")
}

// The tree of a checkpoint that the key of its origin signed.
func treeOf(vkey string, data []byte) (tlog.Tree, error) {
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		return tlog.Tree{}, err
	}
	opened, err := note.Open(data, note.VerifierList(verifier))
	if err != nil {
		return tlog.Tree{}, err
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) != 4 || lines[3] != "" || lines[0] != verifier.Name() {
		return tlog.Tree{}, errors.New("not the three lines of a checkpoint of this log")
	}
	size, err := number(lines[1])
	if err != nil {
		return tlog.Tree{}, err
	}
	root, err := tlog.ParseHash(lines[2])
	return tlog.Tree{N: size, Hash: root}, err
}

func inclusion(tree tlog.Tree, lines []string, entry []byte) error {
	if lines[0] != "c2sp.org/tlog-proof@v1" {
		return errors.New("not a proof file")
	}
	lines = lines[1:]
	if len(lines) > 0 && strings.HasPrefix(lines[0], "extra ") {
		lines = lines[1:]
	}
	index, path, err := numbered("index ", lines)
	if err != nil {
		return err
	}
	return tlog.CheckRecord(path, tree.N, tree.Hash, index, tlog.RecordHash(entry))
}

func consistency(tree, older tlog.Tree, lines []string) error {
	old, path, err := numbered("old ", lines)
	if err != nil {
		return err
	}
	if old != older.N {
		return errors.New("it does not begin at the older checkpoint")
	}
	return tlog.CheckTree(path, tree.N, tree.Hash, older.N, older.Hash)
}

// The number after a word on the first line, and the hashes on the others.
func numbered(word string, lines []string) (int64, []tlog.Hash, error) {
	if len(lines) == 0 || !strings.HasPrefix(lines[0], word) {
		return 0, nil, errors.New("no line with a number")
	}
	found, err := number(strings.TrimPrefix(lines[0], word))
	if err != nil {
		return 0, nil, err
	}
	path := []tlog.Hash{}
	for _, line := range lines[1:] {
		hash, err := tlog.ParseHash(line)
		if err != nil {
			return 0, nil, err
		}
		path = append(path, hash)
	}
	return found, path, nil
}

func number(text string) (int64, error) {
	found, err := strconv.ParseInt(text, 10, 64)
	if err != nil || found < 0 || strconv.FormatInt(found, 10) != text {
		return 0, errors.New("not a number in its one spelling")
	}
	return found, nil
}

// A folder of tiles, for tlog.TileHashReader, which verifies each against the tree.
type folder string

func (f folder) Height() int { return 8 }

func (f folder) SaveTiles(tiles []tlog.Tile, data [][]byte) {}

func (f folder) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	found := [][]byte{}
	for _, tile := range tiles {
		data, err := f.read(tile.Path(), "tile/8/", "tile/")
		if err != nil {
			return nil, err
		}
		found = append(found, data)
	}
	return found, nil
}

// The paths of Go's checksum database name the height of tiles, those of C2SP do not.
func (f folder) read(path, its, ours string) ([]byte, error) {
	return os.ReadFile(filepath.Join(string(f), strings.Replace(path, its, ours, 1)))
}

// Every entry of every bundle is in the tree, by hashes out of verified tiles.
func tiles(tree tlog.Tree, asked question) (verdict, error) {
	said, at := verdict{Size: tree.N}, folder(asked.Folder)
	reader := tlog.TileHashReader(tree, at)
	for first := int64(0); first < tree.N; first += 256 {
		width := 256
		if tree.N-first < 256 {
			width = int(tree.N - first)
		}
		tile := tlog.Tile{H: 8, L: 0, N: first / 256, W: width}
		data, err := at.read(tile.Path(), "tile/8/0/", "tile/entries/")
		if err != nil {
			return said, err
		}
		for n := first; n < first+int64(width); n++ {
			if len(data) < 2 || len(data) < 2+int(binary.BigEndian.Uint16(data)) {
				return said, errors.New("a bundle is too short")
			}
			end := 2 + int(binary.BigEndian.Uint16(data))
			path, err := tlog.ProveRecord(tree.N, n, reader)
			if err != nil {
				return said, err
			}
			err = tlog.CheckRecord(path, tree.N, tree.Hash, n, tlog.RecordHash(data[2:end]))
			if err != nil {
				return said, fmt.Errorf("entry %d: %v", n, err)
			}
			data = data[end:]
		}
		if len(data) != 0 {
			return said, errors.New("a bundle is too long")
		}
	}
	path, err := tlog.ProveRecord(tree.N, asked.Index, reader)
	if err != nil {
		return said, err
	}
	growth, err := tlog.ProveTree(tree.N, asked.Old, reader)
	if err != nil {
		return said, err
	}
	said.Inclusion, said.Consistency = texts(path), texts(growth)
	return said, nil
}

func texts(path []tlog.Hash) []string {
	found := []string{}
	for _, hash := range path {
		found = append(found, hash.String())
	}
	return found
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		asked := question{}
		if err := json.Unmarshal(lines.Bytes(), &asked); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
		said, err := judge(asked)
		said.Holds = err == nil
		if err != nil {
			said.Why = err.Error()
		}
		answer, err := json.Marshal(said)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
		fmt.Println(string(answer))
	}
	if err := lines.Err(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
}
