package localpg

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	osuser "os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// kind is how PostgreSQL's programs get the account that they run as.
type kind int

const (
	asIs        kind = iota // the account of this process, which must not be root
	switched                // another account, by setuid
	inNamespace             // an ordinary account inside a user namespace, with access to root's files
)

// account is the account that PostgreSQL's programs run as. uid and gid are the ids that the programs
// see.
type account struct {
	kind     kind
	uid, gid int
	name     string
}

// owner returns the owner of the files, as seen outside a namespace.
func (a account) owner() (uid, gid int) {
	if a.kind == switched {
		return a.uid, a.gid
	}
	return os.Geteuid(), os.Getegid()
}

// own makes the account the owner of one file or directory. Only root can do that and only root needs
// it.
func (a account) own(path string) error {
	if a.kind == asIs {
		return nil
	}
	uid, gid := a.owner()
	return os.Lchown(path, uid, gid)
}

// adopt makes the account the owner of the tree at the path root, unless it owns that path already. The
// path itself is changed last, so that an interrupted walk is repeated.
func (a account) adopt(root string) error {
	info, err := os.Lstat(root)
	if err != nil || a.kind == asIs {
		return err
	}
	uid, _ := a.owner()
	if have, _, ok := ownerOf(info); ok && have == uid {
		return nil
	}
	err = filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		return a.own(path)
	})
	if err != nil {
		return err
	}
	return a.own(root)
}

// chooseAccount finds an account that can run the build in the directory. Without root it is the
// account of this process. As root it tries, in this order: the owner of the data, the owner of the
// directory in which dir was created (so that files that root creates in a user's project stay usable
// without root), postgres and nobody. If none of them can reach the directory and the programs, it
// tries a user namespace.
func chooseAccount(ctx context.Context, dir layout, made []string, b build) (account, error) {
	if os.Geteuid() != 0 {
		return account{kind: asIs}, nil
	}
	// Newly created directories still belong to root and change their owner later, so try from their
	// parent.
	from := string(dir)
	if len(made) > 0 {
		from = filepath.Dir(made[0])
	}
	list, err := candidates(dir.data(), from)
	if err != nil {
		return account{}, err
	}
	var refusal, reason error
	var tried []string
	for _, a := range list {
		cmd := command(a, syscall.SIGKILL, from, filepath.Join(b.dir, "postgres"), "-V")
		out, err := run(ctx, cmd)
		switch {
		case err == nil:
			return a, nil
		case ctx.Err() != nil:
			return account{}, ctx.Err()
		case a.kind == inNamespace:
			refusal = fmt.Errorf("; a user namespace would allow it, but the kernel refuses one (%w)", errno(err))
		default:
			reason = errors.Join(reason, failure(cmd, out, errno(err)))
			tried = append(tried, a.name)
		}
	}
	return account{}, notReachable(b, from, tried, reason, refusal)
}

// notReachable explains in one line why root cannot run a build.
func notReachable(b build, from string, tried []string, reason, refusal error) error {
	first, _, _ := strings.Cut(fmt.Sprint(reason), "\n")
	var namespace string
	if refusal != nil {
		namespace = refusal.Error()
	}
	return fmt.Errorf("PostgreSQL refuses to run as root, and %s cannot enter %s and run %s (%s)%s: "+
		"choose a directory that other users may enter (DATA_DIR), or run as an ordinary user",
		strings.Join(tried, " or "), from, b.dir, first, namespace)
}

// errno returns the kernel's error from an attempt to run a program.
func errno(err error) error {
	if number, ok := errors.AsType[syscall.Errno](err); ok {
		return number
	}
	return err
}

func candidates(data, parent string) ([]account, error) {
	var list []account
	var namespace *account
	for _, name := range []string{"postgres", "nobody"} {
		if u, err := osuser.Lookup(name); err == nil {
			list = append(list, accountOf(u, switched))
			if namespace == nil {
				// initdb looks up its own uid, so the machine must know it.
				a := accountOf(u, inNamespace)
				a.name += " in a user namespace"
				namespace = &a
			}
		}
	}
	if namespace == nil {
		return nil, errors.New("PostgreSQL refuses to run as root, and neither of the accounts postgres and nobody exists: add one of them, or run as an ordinary user")
	}
	if a, ok := ownerAccount(parent); ok {
		list = append([]account{a}, list...)
	}
	info, err := os.Lstat(data)
	if errors.Is(err, fs.ErrNotExist) {
		return withNamespace(list, *namespace, false), nil
	}
	if err != nil {
		return nil, err
	}
	if uid, _, _ := ownerOf(info); uid == 0 {
		return withNamespace(list, *namespace, true), nil
	}
	if a, ok := ownerAccount(data); ok {
		list = append([]account{a}, list...)
	}
	return withNamespace(list, *namespace, false), nil
}

func withNamespace(list []account, a account, first bool) []account {
	switch {
	case !haveNamespaces:
		return list
	case first:
		return append([]account{a}, list...)
	default:
		return append(list, a)
	}
}

// ownerAccount returns the account that owns path. It returns false if that is root or unknown to the
// machine.
func ownerAccount(path string) (account, bool) {
	info, err := os.Lstat(path)
	if err != nil {
		return account{}, false
	}
	uid, _, ok := ownerOf(info)
	if !ok || uid == 0 {
		return account{}, false
	}
	u, err := osuser.LookupId(strconv.Itoa(uid))
	if err != nil {
		return account{}, false
	}
	return accountOf(u, switched), true
}

func accountOf(u *osuser.User, k kind) account {
	// On Unix both are decimal numbers.
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	return account{kind: k, uid: uid, gid: gid, name: u.Username}
}

func ownerOf(info fs.FileInfo) (uid, gid int, ok bool) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, 0, false
	}
	return int(st.Uid), int(st.Gid), true
}
