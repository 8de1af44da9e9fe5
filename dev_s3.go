// SPDX-License-Identifier: Apache-2.0

//go:build !sidecar

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3afero"
	"github.com/spf13/afero"
	"golang.org/x/sync/errgroup"
)

// startUpstreamS3 starts MinIO where a binary is named, otherwise the embedded
// server, with its data below Dir in upstream-s3.
func (s *devStack) startUpstreamS3(ctx context.Context, group *errgroup.Group) error {
	data := s.path("upstream-s3")
	if err := os.MkdirAll(data, 0o700); err != nil {
		return err
	}
	if s.minio != "" {
		return s.startMinIO(ctx, group, data)
	}
	backend, err := s3afero.MultiBucket(afero.NewBasePathFs(afero.NewOsFs(), data))
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", s.UpstreamS3)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: gofakes3.New(backend).Server(), ReadHeaderTimeout: 10 * time.Second}
	group.Go(func() error {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	group.Go(func() error {
		<-ctx.Done()
		return server.Close()
	})
	return nil
}

func (s *devStack) startMinIO(ctx context.Context, group *errgroup.Group, data string) error {
	password, err := s.secret("upstream.secret")
	if err != nil {
		return err
	}
	command := exec.Command(s.minio, "server", "--address", s.UpstreamS3, data)
	command.Env = append(os.Environ(),
		"MINIO_ROOT_USER="+s.UpstreamID, "MINIO_ROOT_PASSWORD="+password,
		"MINIO_UPDATE=off", "MINIO_BROWSER=off", "MINIO_CI_CD=1")
	if err := s.startProcess(ctx, group, command, "minio.log"); err != nil {
		return err
	}
	return waitFor(ctx, "MinIO", func() error {
		answer, err := http.Get("http://" + s.UpstreamS3 + "/minio/health/ready")
		if err != nil {
			return err
		}
		answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			return fmt.Errorf("not ready: %s", answer.Status)
		}
		return nil
	})
}
