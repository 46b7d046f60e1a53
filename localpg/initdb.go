package localpg

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
)

// defaults are appended to a new postgresql.conf, where the operator may change them.
const defaults = `
# Set by quern when it created this directory. You may change it.
max_connections = 100
shared_buffers = 128MB          # leaves memory for other programs
timezone = 'UTC'
log_timezone = 'UTC'
lc_messages = 'C'
`

// create builds the data directory beside its final place and moves it there when it is complete. A
// crash at any point therefore leaves either a working directory or none.
func (l *launcher) create(ctx context.Context) (err error) {
	fresh := filepath.Join(string(l.dir), freshPrefix+rand.Text())
	secret := fresh + ".password"
	defer func() {
		if err != nil {
			os.RemoveAll(fresh)
			os.Remove(secret)
		}
	}()
	// 26 characters of base32 are 130 random bits. None of them needs quoting in a URL or a shell.
	if err := writeFile(secret, rand.Text()+"\n", 0o600); err != nil {
		return err
	}
	if err := os.Mkdir(fresh, 0o700); err != nil {
		return err
	}
	for _, path := range []string{secret, fresh} {
		if err := l.account.own(path); err != nil {
			return err
		}
	}
	if err := l.initdb(ctx, fresh, secret); err != nil {
		return err
	}
	conf, err := os.OpenFile(filepath.Join(fresh, "postgresql.conf"), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	if _, err := conf.WriteString(defaults); err != nil {
		conf.Close()
		return err
	}
	if err := conf.Close(); err != nil {
		return err
	}
	// Without a driver, the single-user server is the only way to create a database. It takes 50 ms, once.
	if err := l.createDatabase(ctx, fresh, "-c", "fsync=off"); err != nil {
		return err
	}
	if err := os.Rename(secret, filepath.Join(fresh, passwordFile)); err != nil {
		return err
	}
	if err := os.Rename(fresh, l.dir.data()); err != nil {
		return err
	}
	l.created = true
	l.cfg.Log.Info("created a PostgreSQL data directory", "dir", l.cfg.Dir, "version", l.build.version)
	return nil
}

func (l *launcher) initdb(ctx context.Context, fresh, secret string) error {
	args := []string{
		"-D", fresh, "-U", user, "--pwfile=" + secret, "--auth=scram-sha-256",
		"--encoding=UTF8", "--no-sync", "--no-instructions", "--locale=C",
	}
	if l.build.major >= 17 {
		args = append(args, "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
	}
	// Texts sort by code point, as with "C". This is the same on every machine and the fastest order, and
	// LIKE 'abc%' can use any index. But "C" alone knows only ASCII letters, so upper('é') would remain
	// 'é'. Character classes therefore come from Unicode, if the system has a locale for it.
	unicode := "C.UTF-8"
	if runtime.GOOS == "darwin" {
		unicode = "en_US.UTF-8"
	}
	cmd := command(l.account, syscall.SIGKILL, string(l.dir), l.program("initdb"), append(slices.Clone(args), "--lc-ctype="+unicode)...)
	out, err := run(ctx, cmd)
	if err != nil && strings.Contains(out, "invalid locale") {
		cmd = command(l.account, syscall.SIGKILL, string(l.dir), l.program("initdb"), args...)
		out, err = run(ctx, cmd)
	}
	if err != nil && ctx.Err() == nil {
		return failure(cmd, out, err)
	}
	return err
}

// createDatabase creates cfg.Database, if missing, in a data directory in which no server runs. The
// names of created databases are kept in a file, so that the common case needs no process.
func (l *launcher) createDatabase(ctx context.Context, data string, extra ...string) error {
	path := filepath.Join(data, databasesFile)
	known, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	name := l.cfg.Database
	if slices.Contains(strings.Split(string(known), "\n"), name) {
		return nil
	}
	if name != "postgres" { // initdb creates it
		args := append([]string{"--single", "-D", data}, extra...)
		cmd := command(l.account, syscall.SIGTERM, string(l.dir), l.program("postgres"), append(args, "postgres")...)
		cmd.Stdin = strings.NewReader("CREATE DATABASE \"" + strings.ReplaceAll(name, `"`, `""`) + "\";\n")
		out, err := run(ctx, cmd)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		// The single-user server exits with 0 even if the statement failed.
		if i := strings.Index(out, "ERROR:"); err == nil && i >= 0 && !strings.Contains(out, "already exists") {
			err = errors.New("refused")
		}
		if err != nil {
			return fmt.Errorf("create database %s: %w", name, failure(cmd, complaints(out), err))
		}
	}
	if err := writeFile(path, string(known)+name+"\n", 0o600); err != nil {
		return err
	}
	return l.account.own(path)
}

func off(setting string) bool {
	switch strings.ToLower(setting) {
	case "off", "false", "no", "0":
		return true
	}
	return false
}
