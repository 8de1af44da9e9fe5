package audit

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	segmentPrefix = "audit-"
	segmentSuffix = ".jsonl"
	lockName      = "lock"
	maxLine       = 1 << 20
	// allocation is how far a segment is filled with zeros ahead of its records. A
	// sync of records within it has no size to write as well, and no journal: it
	// costs half, or less.
	allocation = 256 << 10
	// maxTorn is more than one write, which is all that a crash can tear.
	maxTorn = 2 * maxQueue
)

// chain is the state that links lines. The first line's prev is empty.
type chain struct {
	next uint64 // sequence number of the next line, from 1
	held uint64 // lines made but not yet on disk
	prev [sha256.Size]byte
}

// appendLine makes the next line out of a body that ends in a line feed. The
// hash covers the line without its line feed.
func (c *chain) appendLine(b, body []byte) []byte {
	from := len(b)
	b = append(b, `{"seq":`...)
	b = strconv.AppendUint(b, c.next, 10)
	b = append(b, `,"prev":"`...)
	if c.next > 1 {
		b = base64.StdEncoding.AppendEncode(b, c.prev[:])
	}
	b = append(b, `",`...)
	b = append(b, body...)
	c.prev = sha256.Sum256(b[from : len(b)-1])
	c.next++
	c.held++
	return b
}

// check verifies that a line, without its line feed, is the next one.
func (c *chain) check(line []byte) error {
	want := make([]byte, 0, 80)
	want = append(want, `{"seq":`...)
	want = strconv.AppendUint(want, c.next, 10)
	want = append(want, `,"prev":"`...)
	if !bytes.HasPrefix(line, want) {
		return fmt.Errorf("is not record %d", c.next)
	}
	if c.next > 1 {
		want = base64.StdEncoding.AppendEncode(want, c.prev[:])
	}
	want = append(want, `",`...)
	if !bytes.HasPrefix(line, want) {
		return fmt.Errorf("record %d does not follow from the line before it", c.next)
	}
	if !bytes.HasSuffix(line, []byte("}}")) {
		return fmt.Errorf("record %d is not whole", c.next)
	}
	c.prev = sha256.Sum256(line)
	c.next++
	return nil
}

// position is a place in the log: the byte offset in the segment that begins
// with the record Segment. The zero position is the beginning.
type position struct {
	Segment uint64 `json:"segment"`
	Offset  int64  `json:"offset"`
}

// segments are the files of a log, of which the last is written to.
type segments struct {
	dir   string
	limit int64
	lock  *os.File
	f     *os.File // nil before the first write
	first uint64
	size  int64 // end of the last good line
	// allocated is the end of the zeros behind it; no zeros if it is not above size.
	allocated int64
	direct    *direct // writes over those zeros; nil if it cannot
	kept      string  // where records are kept that were found behind zeros
}

func (s *segments) tail() position { return position{s.first, s.size} }

func segmentPath(dir string, first uint64) string {
	return filepath.Join(dir, fmt.Sprintf("%s%020d%s", segmentPrefix, first, segmentSuffix))
}

// listSegments returns the first sequence number of each segment, ascending.
func listSegments(dir string) ([]uint64, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("listing audit log: %w", err)
	}
	var list []uint64
	for _, e := range entries {
		name, ok := strings.CutPrefix(e.Name(), segmentPrefix)
		if !ok {
			continue
		}
		name, ok = strings.CutSuffix(name, segmentSuffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(name, 10, 64)
		if err != nil || n == 0 {
			return nil, fmt.Errorf("listing audit log: %s is not a segment", e.Name())
		}
		list = append(list, n)
	}
	slices.Sort(list)
	return list, nil
}

func openSegments(dir string, limit int64) (s *segments, ch chain, torn int64, err error) {
	if err := makeDir(dir); err != nil {
		return nil, ch, 0, err
	}
	s = &segments{dir: dir, limit: limit}
	if s.lock, err = lockDir(dir); err != nil {
		return nil, ch, 0, err
	}
	if ch, torn, err = s.recover(); err != nil {
		return nil, ch, 0, errors.Join(err, s.close())
	}
	return s, ch, torn, nil
}

// makeDir makes dir and what is missing above it. The entry of a new directory is
// in its parent, which must be on disk before anything in dir is acknowledged.
func makeDir(dir string) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	parent := filepath.Dir(filepath.Clean(dir))
	if parent != dir {
		if err := makeDir(parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(parent)
}

// lockDir refuses a second process. The kernel frees the lock with the file.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("locking %s: another process writes to it: %w", dir, err), f.Close())
	}
	return f, nil
}

// recover verifies the last segment and its link to the one before, cuts off
// a torn last line, and leaves the chain at the end.
func (s *segments) recover() (ch chain, torn int64, err error) {
	list, err := listSegments(s.dir)
	if err != nil {
		return ch, 0, err
	}
	ch = chain{next: 1}
	if len(list) == 0 {
		return ch, 0, nil
	}
	last := list[len(list)-1]
	if len(list) > 1 {
		if ch, err = endOf(s.dir, list[len(list)-2]); err != nil {
			return ch, 0, err
		}
	}
	if ch.next != last {
		return ch, 0, fmt.Errorf("%s: begins with record %d, want %d", segmentPath(s.dir, last), last, ch.next)
	}
	if s.f, err = os.OpenFile(segmentPath(s.dir, last), os.O_RDWR, 0); err != nil {
		return ch, 0, err
	}
	s.direct = openDirect(s.f.Name())
	s.first = last
	s.size, err = verifySegment(s.f, segmentPath(s.dir, last), &ch)
	if err != nil {
		return ch, 0, err
	}
	torn, err = s.cutTail()
	return ch, torn, err
}

// cutTail truncates the last segment to its last good line. torn is how long what is
// behind it was, without the zeros that end it.
func (s *segments) cutTail() (torn int64, err error) {
	info, err := s.f.Stat()
	if err != nil || info.Size() == s.size {
		return 0, err
	}
	torn, zeros, err := scanTail(s.f, s.size)
	if err != nil {
		return 0, err
	}
	if zeros {
		if err := s.keepTail(torn); err != nil {
			return 0, fmt.Errorf("keeping what is behind zeros: %w", err)
		}
	}
	return torn, s.trim()
}

// keepTail copies what is behind the last good line to a file of its own. A crash can
// leave records behind zeros that were never acknowledged, but a disk that has lost a
// page leaves those that were.
func (s *segments) keepTail(n int64) error {
	if n > maxTorn {
		return fmt.Errorf("%s: holds zeros at offset %d and %d bytes with records behind it, more than a crash leaves", s.f.Name(), s.size, n)
	}
	tail := make([]byte, n)
	if _, err := s.f.ReadAt(tail, s.size); err != nil {
		return err
	}
	s.kept = filepath.Join(s.dir, fmt.Sprintf("torn-%020d-%d", s.first, s.size))
	if err := writeSynced(s.kept, tail); err != nil {
		return err
	}
	return syncDir(s.dir)
}

// scanTail gives how long a file is from an offset on, without the zeros that end it,
// and whether there are zeros before that.
func scanTail(f *os.File, from int64) (n int64, zeros bool, err error) {
	r := io.NewSectionReader(f, from, 1<<62)
	buf := make([]byte, 64<<10)
	for at, after := int64(0), false; ; { // after says that zeros end what was read so far
		read, err := r.Read(buf)
		data := bytes.TrimRight(buf[:read], "\x00")
		if len(data) > 0 {
			zeros = zeros || after || bytes.IndexByte(data, 0) >= 0
			n, after = at+int64(len(data)), false
		}
		after = after || len(data) < read
		at += int64(read)
		if errors.Is(err, io.EOF) {
			return n, zeros, nil
		}
		if err != nil {
			return 0, false, fmt.Errorf("reading audit log: %w", err)
		}
	}
}

// trim ends the file where the last good line ends.
func (s *segments) trim() error {
	if err := s.f.Truncate(s.size); err != nil {
		return err
	}
	if err := s.f.Sync(); err != nil {
		return err
	}
	s.allocated = s.size
	return nil
}

// verifySegment checks every complete line and returns the offset after the
// last of them.
func verifySegment(r io.Reader, path string, ch *chain) (int64, error) {
	n := 0
	return eachLine(r, func(line []byte, _ int64) error {
		n++
		if err := ch.check(line); err != nil {
			return fmt.Errorf("%s:%d: %w", path, n, err)
		}
		return nil
	})
}

// endOf returns the chain after a full segment without verifying the segment.
func endOf(dir string, first uint64) (chain, error) {
	path := segmentPath(dir, first)
	ch := chain{next: first}
	f, err := os.Open(path)
	if err != nil {
		return ch, err
	}
	defer f.Close()
	end, err := eachLine(f, func(line []byte, _ int64) error {
		ch.next++
		ch.prev = sha256.Sum256(line)
		return nil
	})
	if err != nil {
		return ch, fmt.Errorf("%s: %w", path, err)
	}
	if info, err := f.Stat(); err != nil {
		return ch, err
	} else if info.Size() != end {
		return ch, fmt.Errorf("%s: ends in an incomplete line, but is not the last segment", path)
	}
	return ch, nil
}

// eachLine calls fn with every complete line, without its line feed, and the
// offset after it. The line is valid during the call. It returns the offset
// after the last complete line: what begins there, if anything, is a line that is
// not complete, or zeros that are filled later. No line holds a zero.
func eachLine(r io.Reader, fn func(line []byte, end int64) error) (int64, error) {
	br := bufio.NewReaderSize(r, maxLine)
	var end int64
	for {
		line, err := br.ReadSlice('\n')
		if errors.Is(err, io.EOF) || bytes.IndexByte(line, 0) >= 0 {
			return end, nil
		}
		if err != nil {
			return end, fmt.Errorf("reading audit log at offset %d: %w", end, err)
		}
		if err := fn(line[:len(line)-1], end+int64(len(line))); err != nil {
			return end, err
		}
		end += int64(len(line))
	}
}

// append writes whole lines, of which the first has the given sequence
// number, and returns when they are on disk. After an error the file ends
// where it ended before.
func (s *segments) append(lines []byte, first uint64) error {
	if s.f == nil || s.size >= s.limit {
		if err := s.rotate(first); err != nil {
			return err
		}
	}
	if err := s.write(lines); err != nil {
		s.allocated = s.size
		if terr := s.f.Truncate(s.size); terr != nil {
			err = errors.Join(err, terr)
		}
		return fmt.Errorf("writing audit log: %w", err)
	}
	s.size += int64(len(lines))
	return nil
}

func (s *segments) write(lines []byte) error {
	written, err := s.direct.write(s.f, lines, s.size, s.allocated)
	if written {
		return err
	}
	if errors.Is(err, unix.EINVAL) {
		_ = s.direct.close() // it has nothing that is not on disk
		s.direct = nil
	}
	if _, err := s.f.WriteAt(lines, s.size); err != nil {
		return err
	}
	s.allocate(s.size + int64(len(lines)))
	return fdatasync(s.f)
}

// allocate writes zeros behind records that end at an offset, if they have used up those
// that were there. On a disk that has no room for them the records may still fit.
func (s *segments) allocate(end int64) {
	if end <= s.allocated {
		return
	}
	to := min(end+allocation, max(s.limit, end))
	written, _ := s.f.WriteAt(make([]byte, to-end), end)
	s.allocated = end + int64(written)
}

func fdatasync(f *os.File) error {
	for {
		err := unix.Fdatasync(int(f.Fd()))
		if err != unix.EINTR {
			return err
		}
	}
}

// rotate begins a new segment. A file left by an attempt that failed is
// empty, and taken over; one that is not is never overwritten.
func (s *segments) rotate(first uint64) error {
	if s.f != nil && s.allocated > s.size {
		if err := s.trim(); err != nil {
			return fmt.Errorf("ending audit segment: %w", err)
		}
	}
	f, err := os.OpenFile(segmentPath(s.dir, first), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("beginning audit segment: %w", err)
	}
	info, err := f.Stat()
	if err == nil && info.Size() != 0 {
		err = fmt.Errorf("%s is there already", f.Name())
	}
	if err == nil {
		err = syncDir(s.dir)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("beginning audit segment: %w", err), f.Close())
	}
	old, oldDirect := s.f, s.direct
	s.f, s.first, s.size, s.allocated = f, first, 0, 0
	s.direct = openDirect(f.Name())
	if old == nil {
		return nil
	}
	if err := errors.Join(old.Close(), oldDirect.close()); err != nil {
		return fmt.Errorf("ending audit segment: %w", err)
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (s *segments) close() error {
	var err error
	if s.f != nil {
		if s.allocated > s.size {
			err = s.trim()
		}
		err = errors.Join(err, s.f.Close(), s.direct.close())
	}
	return errors.Join(err, s.lock.Close())
}

// Verify checks the whole chain of the log in dir and returns how many
// records it holds and the hash of the last line, base64. An incomplete last
// line, which a live writer may be about to finish, is not counted.
func Verify(dir string) (records uint64, head string, err error) {
	list, err := listSegments(dir)
	if err != nil {
		return 0, "", err
	}
	ch := chain{next: 1}
	for i, first := range list {
		if first != ch.next {
			return ch.next - 1, "", fmt.Errorf("%s: begins with record %d, want %d", segmentPath(dir, first), first, ch.next)
		}
		if err := verifyFile(segmentPath(dir, first), &ch, i == len(list)-1); err != nil {
			return ch.next - 1, "", err
		}
	}
	if ch.next > 1 {
		head = base64.StdEncoding.EncodeToString(ch.prev[:])
	}
	return ch.next - 1, head, nil
}

func verifyFile(path string, ch *chain, last bool) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	end, err := verifySegment(f, path, ch)
	if err != nil {
		return err
	}
	if last {
		return verifyTail(f, path, end)
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Size() != end {
		return fmt.Errorf("%s: ends in an incomplete line, but is not the last segment", path)
	}
	return nil
}

// verifyTail checks what is behind the last good line of the last segment: a line
// that is not complete and then zeros, as a writer leaves it that lives or was killed.
// A record behind a zero is none of that. A live writer may write meanwhile: what
// has changed by the time of a second look is its work.
func verifyTail(f *os.File, path string, end int64) error {
	for range 3 {
		_, zeros, err := scanTail(f, end)
		if err != nil || !zeros {
			return err
		}
		time.Sleep(50 * time.Millisecond)
		written, err := eachLine(io.NewSectionReader(f, end, 1<<62), func([]byte, int64) error { return nil })
		if err != nil || written > 0 {
			return err
		}
	}
	return fmt.Errorf("%s: holds data behind zeros at offset %d", path, end)
}
