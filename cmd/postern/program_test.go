package main

import (
	"os"
	"os/exec"
	"syscall"
)

// started is a command of the program in a process of its own.
type started struct {
	process *os.Process
	log     *buffer
}

// program starts a command in a process of its own, which ends with the test.
func (s *shell) program(line string) started {
	s.t.Helper()
	p := started{log: &buffer{}}
	command := exec.Command(os.Args[0], s.words(line, nil)...)
	command.Env = append(os.Environ(), asProgram+"=1")
	for name, value := range s.env {
		command.Env = append(command.Env, name+"="+value)
	}
	command.Stdout, command.Stderr = p.log, p.log
	if err := command.Start(); err != nil {
		s.t.Fatal(err)
	}
	p.process = command.Process
	s.t.Cleanup(func() {
		p.process.Signal(syscall.SIGTERM)
		if err := command.Wait(); err != nil {
			s.t.Errorf("%s: %v, want it to end well; it said:\n%s", line, err, p.log)
		}
		s.heard(p.log.String())
	})
	return p
}
