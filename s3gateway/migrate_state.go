// SPDX-License-Identifier: Apache-2.0

package s3gateway

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// migrateState is how far a run came: every object up to Last is done, but those that
// failed. Losing it costs a listing: a run without it looks at every object anew.
type migrateState struct {
	path string

	mu      sync.Mutex
	file    stateFile   // guarded by mu
	pending []*stateJob // guarded by mu: in the order of the listing; the first is not done
	saved   time.Time   // guarded by mu
}

type stateFile struct {
	Bucket  string            `json:"bucket"`
	Prefix  string            `json:"prefix"`
	Last    string            `json:"last"`    // name of an object
	Failed  []string          `json:"failed"`  // names up to Last that are to be taken up again
	Uploads map[string]string `json:"uploads"` // that run, with the object's name
}

type stateJob struct {
	key      string
	done, ok bool
}

// stateEvery is how often the file is written at most, but for uploads.
const stateEvery = time.Second

func openState(path, bucket, prefix string) (*migrateState, error) {
	s := &migrateState{path: path, file: stateFile{Bucket: bucket, Prefix: prefix, Uploads: map[string]string{}}}
	if path == "" {
		return s, nil
	}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the state: %w", err)
	}
	var file stateFile
	if err := json.Unmarshal(text, &file); err != nil {
		return nil, fmt.Errorf("%s is not the state of a migration: %w", path, err)
	}
	if file.Bucket != bucket || file.Prefix != prefix {
		return nil, fmt.Errorf("%s is the state of another migration, of bucket %q and prefix %q", path, file.Bucket, file.Prefix)
	}
	if file.Uploads == nil {
		file.Uploads = map[string]string{}
	}
	s.file = file
	return s, nil
}

// last is where the listing goes on.
func (s *migrateState) last() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.file.Last
}

// retry are the objects that failed in an earlier run.
func (s *migrateState) retry() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.file.Failed)
}

// left are the uploads that were running, by their IDs.
func (s *migrateState) left() map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.file.Uploads)
}

// take notes that an object is in hand. What it returns is called when it is done.
func (s *migrateState) take(key string) func(ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	job := &stateJob{key: key}
	s.pending = append(s.pending, job)
	return func(ok bool) { s.finished(job, ok) }
}

func (s *migrateState) finished(job *stateJob, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	job.done, job.ok = true, ok
	for len(s.pending) > 0 && s.pending[0].done {
		s.advance(s.pending[0])
		s.pending = s.pending[1:]
	}
	if time.Since(s.saved) >= stateEvery {
		s.save() // an error shows again when the run ends
	}
}

// advance passes an object. The caller holds mu.
func (s *migrateState) advance(job *stateJob) {
	at, again := slices.BinarySearch(s.file.Failed, job.key)
	switch {
	case again && job.ok:
		s.file.Failed = slices.Delete(s.file.Failed, at, at+1)
	case !again && !job.ok:
		s.file.Failed = slices.Insert(s.file.Failed, at, job.key)
	}
	s.file.Last = max(s.file.Last, job.key)
}

// uploading notes an upload that a later run has to end if this one is killed.
func (s *migrateState) uploading(id, key string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.file.Uploads[id] = key
	return s.save()
}

func (s *migrateState) uploaded(id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.file.Uploads, id)
	return s.save()
}

// close keeps the state of a run that was interrupted. One that reached the end has
// nothing to go on from: the next looks at every object.
func (s *migrateState) close(complete bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.path == "" || !complete {
		return s.save()
	}
	if err := os.Remove(s.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing the state: %w", err)
	}
	return nil
}

// save replaces the file. The caller holds mu.
func (s *migrateState) save() error {
	if s.path == "" {
		return nil
	}
	s.saved = time.Now()
	text, err := json.Marshal(&s.file)
	if err != nil {
		return fmt.Errorf("writing the state: %w", err)
	}
	file, err := os.CreateTemp(filepath.Dir(s.path), filepath.Base(s.path)+".*")
	if err != nil {
		return fmt.Errorf("writing the state: %w", err)
	}
	defer os.Remove(file.Name())
	_, err = file.Write(text)
	err = errors.Join(err, file.Sync(), file.Close())
	if err == nil {
		err = os.Rename(file.Name(), s.path)
	}
	if err != nil {
		return fmt.Errorf("writing the state: %w", err)
	}
	return nil
}
