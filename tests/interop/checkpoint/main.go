// Command checkpoint verifies what case-exchange writes with code that case-exchange did not write: Go's own
// golang.org/x/mod/sumdb/note and tlog, the packages behind the go command's checksum database.
//
// Usage: checkpoint ORIGIN NOTE VKEY INCLUSION CONSISTENCY [TILES], all but the first the name of a file or folder.
//
//	ORIGIN       the log's origin, which is not the name of its key: one key signs for several logs
//	NOTE         a signed checkpoint
//	VKEY         the log's verifier key
//	INCLUSION    "<leaf index> <base64 leaf bytes>", then the proof's hashes in base64, one a line
//	CONSISTENCY  "<old size> <base64 old root>", then the proof's hashes in base64, one a line
//	TILES        a folder with the tiles of the log, as C2SP tlog-tiles names them
//
// It exits with status 0 if all of them hold, and else with status 1 and the name of the first that does not.
package main

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

func main() {
	if len(os.Args) != 6 && len(os.Args) != 7 {
		fail("usage", fmt.Errorf("checkpoint ORIGIN NOTE VKEY INCLUSION CONSISTENCY [TILES]"))
	}
	tree, err := openCheckpoint(os.Args[1], read(os.Args[2]), strings.TrimSuffix(read(os.Args[3]), "\n"))
	if err != nil {
		fail("note", err)
	}
	if err := checkInclusion(read(os.Args[4]), tree); err != nil {
		fail("inclusion", err)
	}
	if err := checkConsistency(read(os.Args[5]), tree); err != nil {
		fail("consistency", err)
	}
	if len(os.Args) == 7 {
		if err := checkTiles(folder(os.Args[6]), tree); err != nil {
			fail("tiles", err)
		}
	}
	fmt.Printf("ok %d\n", tree.N)
}

// openCheckpoint takes the three lines apart itself, because tlog.ParseTree insists on the origin of Go's own log.
func openCheckpoint(origin, signed, vkey string) (tlog.Tree, error) {
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		return tlog.Tree{}, err
	}
	opened, err := note.Open([]byte(signed), note.VerifierList(verifier))
	if err != nil {
		return tlog.Tree{}, err
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) != 4 || lines[3] != "" || lines[0] != origin {
		return tlog.Tree{}, fmt.Errorf("not a checkpoint of %s", origin)
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil {
		return tlog.Tree{}, err
	}
	root, err := tlog.ParseHash(lines[2])
	return tlog.Tree{N: size, Hash: root}, err
}

func checkInclusion(file string, tree tlog.Tree) error {
	index, leaf, proof, err := parseProof(file)
	if err != nil {
		return err
	}
	return tlog.CheckRecord(proof, tree.N, tree.Hash, index, tlog.RecordHash(leaf))
}

func checkConsistency(file string, tree tlog.Tree) error {
	size, root, proof, err := parseProof(file)
	if err != nil {
		return err
	}
	var old tlog.Hash
	if copy(old[:], root) != tlog.HashSize {
		return fmt.Errorf("the old root is too short")
	}
	return tlog.CheckTree(proof, tree.N, tree.Hash, size, old)
}

// folder has tiles of height 8. tlog names the height in their paths, and C2SP does not.
type folder string

func (f folder) Height() int { return 8 }

func (f folder) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	data := make([][]byte, len(tiles))
	for i, tile := range tiles {
		path := filepath.Join(string(f), "tile", strings.TrimPrefix(tile.Path(), "tile/8/"))
		read, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		data[i] = read
	}
	return data, nil
}

func (f folder) SaveTiles([]tlog.Tile, [][]byte) {}

// checkTiles reads every leaf hash through the tiles, and derives the tree's hash from them anew. TileHashReader alone is
// not enough: of a tree with few tiles it does not compare every tile with the one above it (x/mod 0.7.0).
func checkTiles(f folder, tree tlog.Tree) error {
	reader := tlog.TileHashReader(tree, f)
	var leaves []int64
	for i := int64(0); i < tree.N; i++ {
		leaves = append(leaves, tlog.StoredHashIndex(0, i))
	}
	hashes, err := reader.ReadHashes(leaves)
	if err != nil {
		return err
	}
	var stored []tlog.Hash
	memory := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		found := make([]tlog.Hash, len(indexes))
		for i, index := range indexes {
			found[i] = stored[index]
		}
		return found, nil
	})
	for i, hash := range hashes {
		more, err := tlog.StoredHashesForRecordHash(int64(i), hash, memory)
		if err != nil {
			return err
		}
		stored = append(stored, more...)
	}
	hash, err := tlog.TreeHash(tree.N, memory)
	if err == nil && hash != tree.Hash {
		err = fmt.Errorf("the tiles give another root")
	}
	return err
}

func parseProof(file string) (int64, []byte, []tlog.Hash, error) {
	lines := strings.Split(strings.TrimSuffix(file, "\n"), "\n")
	number, data, _ := strings.Cut(lines[0], " ")
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil {
		return 0, nil, nil, err
	}
	decoded, err := base64.StdEncoding.DecodeString(data)
	if err != nil {
		return 0, nil, nil, err
	}
	var proof []tlog.Hash
	for _, line := range lines[1:] {
		hash, err := tlog.ParseHash(line)
		if err != nil {
			return 0, nil, nil, err
		}
		proof = append(proof, hash)
	}
	return n, decoded, proof, nil
}

func read(name string) string {
	data, err := os.ReadFile(name)
	if err != nil {
		fail("usage", err)
	}
	return string(data)
}

func fail(what string, err error) {
	fmt.Fprintf(os.Stderr, "%s: %v\n", what, err)
	os.Exit(1)
}
