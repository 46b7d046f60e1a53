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

// kind is the way in which PostgreSQL's programs get the account they run as.
type kind int

const (
	asIs        kind = iota // the account of this process, which is not root
	switched                // another account, by setuid
	inNamespace             // root's files, as an ordinary account inside a user namespace
)

// account is whom PostgreSQL's programs run as. uid and gid are those the programs see.
type account struct {
	kind     kind
	uid, gid int
	name     string
}

// owner is whom the files belong to, as seen from outside a namespace.
func (a account) owner() (uid, gid int) {
	if a.kind == switched {
		return a.uid, a.gid
	}
	return os.Geteuid(), os.Getegid()
}

// own gives one file or folder to the account. Only root can and needs to.
func (a account) own(path string) error {
	if a.kind == asIs {
		return nil
	}
	uid, gid := a.owner()
	return os.Lchown(path, uid, gid)
}

// adopt gives the tree below root to the account, if it is not its already. The top comes last, so that
// an interrupted walk is walked again.
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

// chooseAccount finds an account which can run the build in the directory. Not being root, that is our
// own. As root it tries, in this order: who owns the data, who owns the folder the directory was
// made in (so that what root makes in someone's project stays usable without root), postgres, nobody
// and, where none of them can reach the directory or the programs, a user namespace.
func chooseAccount(ctx context.Context, dir layout, made []string, b build) (account, error) {
	if os.Geteuid() != 0 {
		return account{kind: asIs}, nil
	}
	// Folders made just now are still root's and are given away afterwards: try from their parent.
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
			refusal = fmt.Errorf("; a user namespace, which would let it in, is refused here (%w)", errno(err))
		default:
			reason = errors.Join(reason, failure(cmd, out, errno(err)))
			tried = append(tried, a.name)
		}
	}
	return account{}, notReachable(b, from, tried, reason, refusal)
}

// notReachable says why root can run a build in no way, in one line.
func notReachable(b build, from string, tried []string, reason, refusal error) error {
	first, _, _ := strings.Cut(fmt.Sprint(reason), "\n")
	var namespace string
	if refusal != nil {
		namespace = refusal.Error()
	}
	return fmt.Errorf("PostgreSQL refuses to run as root, and %s cannot enter %s and run %s (%s)%s: "+
		"choose a directory which others may enter (DATA_DIR), or run as an ordinary user",
		strings.Join(tried, " or "), from, b.dir, first, namespace)
}

// errno is what the kernel said to the attempt to run a program.
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
				// initdb looks its own uid up, so it must be one the machine knows.
				a := accountOf(u, inNamespace)
				a.name += " in a user namespace"
				namespace = &a
			}
		}
	}
	if namespace == nil {
		return nil, errors.New("PostgreSQL refuses to run as root, and there is no account postgres or nobody: add one of them, or run as an ordinary user")
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

// ownerAccount is the account that owns path, unless that is root or unknown to the machine.
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
	// On unix both are decimal numbers.
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
