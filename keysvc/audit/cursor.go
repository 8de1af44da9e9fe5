package audit

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

const cursorName = "otlp.cursor"

// cursor says what the collector has: every record before position, except
// the intents in Open, whose outcomes were still to come.
type cursor struct {
	position
	Seq  uint64     `json:"seq"` // of the record at position
	Open []position `json:"open,omitempty"`
}

func loadCursor(dir string) (cursor, error) {
	c := cursor{Seq: 1}
	b, err := os.ReadFile(filepath.Join(dir, cursorName))
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return c, fmt.Errorf("reading export cursor: %w", err)
	}
	if err := json.Unmarshal(b, &c); err != nil {
		return cursor{Seq: 1}, fmt.Errorf("reading export cursor: %w", err)
	}
	return c, nil
}

// there says whether the log reaches to the cursor: it does not after records were
// cut off that a damaged disk had made unreadable.
func (c cursor) there(dir string) error {
	if c.Offset == 0 {
		return nil
	}
	info, err := os.Stat(segmentPath(dir, c.Segment))
	if err != nil {
		return fmt.Errorf("looking up the export cursor: %w", err)
	}
	if info.Size() < c.Offset {
		return fmt.Errorf("the export cursor is at %d:%d, behind the end of the log", c.Segment, c.Offset)
	}
	return nil
}

// save replaces the file as a whole: after a crash it is the old or the new.
func (c cursor) save(dir string) error {
	b, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("saving export cursor: %w", err)
	}
	path := filepath.Join(dir, cursorName)
	if err := writeSynced(path+".new", append(b, '\n')); err != nil {
		return fmt.Errorf("saving export cursor: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("saving export cursor: %w", err)
	}
	return nil
}

func writeSynced(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if _, err := f.Write(b); err != nil {
		return errors.Join(err, f.Close())
	}
	return errors.Join(f.Sync(), f.Close())
}
