package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"unicode/utf8"
)

var errNoIndex = errors.New("there is no package index")

// index holds the packages and their maintainers.
type index struct {
	packages    int
	maintainers map[string]*maintainer // by username
}

// maintainer is a user to be.
type maintainer struct {
	username, email string
	posts           []post
}

// post is a package as the API takes it.
type post struct {
	Title   string   `json:"title"`
	Content string   `json:"content"`
	Tags    []string `json:"tags"`
}

// readIndex reads the first packages of `apt-cache dumpavail`, at most limit.
func readIndex(ctx context.Context, limit int) (*index, error) {
	program, err := exec.LookPath("apt-cache")
	if err != nil {
		return nil, fmt.Errorf("%w: no apt-cache on this machine", errNoIndex)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // apt-cache has far more to say than is wanted
	cmd := exec.CommandContext(ctx, program, "dumpavail")
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	idx, err := parseIndex(out, limit)
	cancel()
	_ = cmd.Wait() // it was interrupted
	if err == nil && idx.packages == 0 {
		return nil, fmt.Errorf("%w: apt's lists are empty: run apt-get update", errNoIndex)
	}
	return idx, err
}

// parseIndex reads stanzas of "Field: value" lines, continued by lines that
// start with a space (Debian policy manual, section 5.1).
func parseIndex(r io.Reader, limit int) (*index, error) {
	idx := &index{maintainers: map[string]*maintainer{}}
	fields := map[string]string{}
	last := ""
	scanner := bufio.NewScanner(r)
	scanner.Buffer(nil, 1<<20) // a line of Depends can be long
	for idx.packages < limit && scanner.Scan() {
		line := scanner.Text()
		switch name, value, found := strings.Cut(line, ":"); {
		case line == "":
			idx.add(fields)
			clear(fields)
		case line[0] == ' ':
			fields[last] += "\n" + line
		case found:
			last = name
			fields[name] = strings.TrimSpace(value)
		}
	}
	if idx.packages < limit {
		idx.add(fields)
	}
	return idx, scanner.Err()
}

func (idx *index) add(fields map[string]string) {
	if fields["Package"] == "" {
		return
	}
	username, email := identity(fields["Maintainer"])
	m := idx.maintainers[username]
	if m == nil {
		m = &maintainer{username: username, email: email}
		idx.maintainers[username] = m
	}
	m.posts = append(m.posts, post{
		Title:   fields["Package"],
		Content: fields["Description"],
		Tags:    tags(fields["Section"], fields["Tag"]),
	})
	idx.packages++
}

// identity makes a username, at most 50 characters and one for each address,
// and an email, at most 100, of a field like "Ada Lovelace <ada@example.org>".
func identity(field string) (username, email string) {
	address := field
	if _, rest, found := strings.Cut(field, "<"); found {
		address, _, _ = strings.Cut(rest, ">")
	}
	username, email = address, field
	if utf8.RuneCountInString(username) > 50 {
		username = fmt.Sprintf("%.37s-%.6x", address, sha256.Sum256([]byte(address)))
	}
	if utf8.RuneCountInString(email) > 100 {
		email = address
	}
	return username, email
}

// tags are the section and the comma-separated tags of a package.
func tags(section, list string) []string {
	all := []string{}
	for _, tag := range append([]string{section}, strings.Split(list, ",")...) {
		if tag = strings.TrimSpace(tag); tag != "" {
			all = append(all, tag)
		}
	}
	return all
}
