package main

import (
	"bufio"
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/tlog"
)

func main() {
	trees := map[string]tlog.Tree{}
	for _, row := range rows("signatures.txt") {
		key, message, signature := decode(row[1]), decode(row[2]), decode(row[3])
		good := len(key) == 44 && ed25519.Verify(key[12:], message, signature)
		report(row[0], good)
		lines := strings.Split(string(message), "\n")
		lines = lines[len(lines)-4:] // the name of the log, its size, its root hash, nothing
		size, err := strconv.ParseInt(lines[1], 10, 64)
		root, errRoot := tlog.ParseHash(lines[2])
		if good && err == nil && errRoot == nil {
			trees[row[0]] = tlog.Tree{N: size, Hash: root}
		}
	}
	for _, row := range rows("proofs.txt") {
		var path tlog.TreeProof
		for _, item := range row[2:] {
			hash, err := tlog.ParseHash(item)
			report(row[1]+" hash", err == nil)
			path = append(path, hash)
		}
		older, newer := trees[row[0]], trees[row[1]]
		err := tlog.CheckTree(path, newer.N, newer.Hash, older.N, older.Hash)
		report(row[1]+" continues "+row[0], err == nil)
	}
}

func rows(name string) (found [][]string) {
	file, err := os.Open(name)
	if err != nil {
		panic(err)
	}
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		found = append(found, strings.Fields(lines.Text()))
	}
	return found
}

func decode(text string) []byte {
	data, err := base64.StdEncoding.DecodeString(text)
	report("base64", err == nil)
	return data
}

func report(what string, good bool) {
	if !good {
		fmt.Println(what + ": WRONG")
		os.Exit(1)
	}
	if what != "base64" && !strings.HasSuffix(what, " hash") {
		fmt.Println(what + ": good")
	}
}
