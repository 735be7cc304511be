package main

import (
	"context"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

const (
	createLine = "secret create --merchant m1 --description d --permission getOrder "
	serveBad   = "serve --listen unix:$DIR/gate.sock "
)

// badInput is command lines that are refused. $NAME stands for a variable of the
// shell, in texts too.
var badInput = []struct {
	line  string
	code  int
	texts []string // of stderr
}{
	{"", 2, []string{"usage: postern COMMAND", "secret create"}},
	{"secret", 2, []string{`there is no command "secret"`, "usage: postern COMMAND"}},
	{"--redis redis://:hunter2@127.0.0.1 secret list", 2, []string{"the command comes first", "usage: postern COMMAND"}},
	{"secret destroy $ID", 2, []string{`there is no command "secret destroy"`}},
	{createLine + "--colour red", 2, []string{"flag provided but not defined: -colour", "--help lists the flags"}},
	{"secret delete $ID --force", 2, []string{"flag provided but not defined: -force"}},
	{"secret delete", 2, []string{"give one ID, or --token-stdin"}},
	{"secret delete $ID --token-stdin", 2, []string{"give one ID, or --token-stdin"}},
	{"secret delete $ID $NONE", 2, []string{"give one ID, or --token-stdin"}},
	{"secret show", 2, []string{"arguments: 0, want 1"}},
	{"secret list", 2, []string{"--merchant (or POSTERN_MERCHANT) is missing"}},
	{"secret create", 2, []string{"--merchant (or POSTERN_MERCHANT) is missing"}},
	{"merchant create", 2, []string{"arguments: 0, want 1", "usage: postern merchant create ID"}},
	{"merchant create m 1", 2, []string{"arguments: 2, want 1"}},
	{"merchant create m/1", 1, []string{`merchant id "m/1": use 1 to 128 of A-Z a-z 0-9 . _ ~ -`}},
	{"merchant delete ..", 1, []string{`merchant id ".."`, "not only dots"}},
	{"secret list --merchant ../..", 1, []string{`merchant id "../.."`}},

	{createLine + "--catalog $DIR/none.yaml", 1, []string{"catalog", "$DIR/none.yaml", "no such file", "name a file that holds the API's OpenAPI document"}},
	{createLine + "--catalog $DIR", 1, []string{"catalog", "$DIR", "is a directory"}},
	{createLine + "--catalog $DIR/broken.yaml", 1, []string{"catalog $DIR/broken.yaml:", "line 2:", "correct the syntax"}},
	{createLine + "--catalog $DIR/empty.yaml", 1, []string{"empty.yaml:", "the document is empty"}},
	{createLine + "--catalog $DIR/wild.yaml", 1, []string{"wild.yaml:\nline 4: ", "\nline 5: operationId \"a\" is already used on line 4: give each operation its own"}},
	{"check GET /a --catalog $DIR/none.yaml", 1, []string{"catalog", "none.yaml", "no such file"}},

	{createLine + "--key-file $DIR/none.json", 1, []string{"key file $DIR/none.json does not exist: make it with postern key new $DIR/none.json"}},
	{createLine + "--key-file $DIR", 1, []string{"key file", "$DIR", "is a directory"}},
	{createLine + "--key-file $DIR/plain", 1, []string{"key file $DIR/plain: it is not the JSON of a key file"}},
	{createLine + "--key-file $DIR/loose.json", 1, []string{"may be written by others (mode 0622): chmod 600 it"}},
	{createLine + "--key-file $DIR/other.json", 1, []string{"the key file has no key of this store: use the key file that the store's secrets were made with", "$ADDR"}},

	{createLine + "--redis redis://127.0.0.1:1", 1, []string{"open the store at redis://127.0.0.1:1", "connection refused", "--redis"}},
	{createLine + "--redis redis://nobody:hunter2@$ADDR", 1, []string{"open the store at redis://$ADDR", "WRONGPASS", "--redis"}},
	{createLine + "--redis http://:hunter2@$ADDR", 2, []string{"--redis", "it starts with neither redis:// nor rediss://"}},
	{createLine + "--redis redis://$ADDR/x", 2, []string{"--redis", "the database behind the / is not a number"}},
	{createLine + "--redis-ca $DIR/plain", 2, []string{"--redis", "use rediss://"}},
	{createLine + "--redis rediss://$ADDR --redis-ca $DIR/none.pem", 2, []string{"none.pem: no such file"}},

	{"secret show $NONE", 1, []string{"there is no secret $NONE", "postern secret list --merchant ID shows the ids"}},
	{"secret delete $NONE", 1, []string{"there is no secret $NONE", "postern secret list"}},
	{"secret rotate $NONE", 1, []string{"there is no secret $NONE"}},
	{"secret rotate $ID --expires yesterday", 1, []string{`--expires "yesterday" is no duration`}},
	{"secret rotate $ID --expires 2020-01-01T00:00:00Z", 1, []string{"is in the past: name a moment to come"}},
	{"secret show nope", 1, []string{"32 hexadecimal digits", "postern secret list --merchant ID shows the ids"}},
	{"secret show *", 1, []string{"32 hexadecimal digits"}},
	{"check GET", 2, []string{"arguments: 1, want 2"}},
	{"check GET /a --ip 192.0.2.0/24", 1, []string{`--ip "192.0.2.0/24" is no address: write 203.0.113.7 or 2001:db8::7`}},

	{serveBad + "--catalog $DIR/none.yaml", 1, []string{"catalog", "none.yaml", "no such file"}},
	{serveBad + "--catalog $DIR/wild.yaml", 1, []string{"wild.yaml:\nline 4: "}},
	{serveBad + "--key-file $DIR/none.json", 1, []string{"none.json does not exist: make it with postern key new"}},
	{serveBad + "--key-file $DIR/loose.json", 1, []string{"may be written by others"}},
	{serveBad + "--redis ftp://x", 2, []string{"neither redis:// nor rediss://"}},
	{serveBad + "--socket-mode 9", 2, []string{`--socket-mode "9" is no mode: write 0660`}},
	{serveBad + "--socket-mode 01777", 2, []string{`is no mode`}},
	{serveBad + "--cache-size 0", 2, []string{"--cache-size and --lag-limit must be more than 0"}},
	{serveBad + "--decision-log -1", 2, []string{"--decision-log", "at least 0"}},
	{serveBad + "--trace-endpoint 127.0.0.1:4318", 2, []string{"--trace-endpoint is no URL of a collector: write http://HOST:4318/v1/traces"}},
	{serveBad + "--trace-endpoint grpc://127.0.0.1:4317/v1/traces", 2, []string{"--trace-endpoint is no URL of a collector"}},
	{serveBad + "--trace-endpoint http:///v1/traces", 2, []string{"--trace-endpoint is no URL of a collector"}},
	{serveBad + "--trace-endpoint http://127.0.0.1:4318/", 2, []string{"--trace-endpoint has no path: collectors take spans at /v1/traces"}},
	{serveBad + "--trace-endpoint https://me:hunter2/0@127.0.0.1/v1/traces", 2, []string{"--trace-endpoint is no URL of a collector"}},
	{serveBad + "--max-stale -1s", 2, []string{"--max-stale", "at least 0"}},
	{serveBad + "--filter-max-body 8MB", 2, []string{"-filter-max-body", "KiB, MiB or GiB"}},
	{serveBad + "--filter-max-body 0", 2, []string{"--filter-max-body must be more than 0"}},
	{serveBad + "--filter-memory 15MiB", 2, []string{"--filter-memory at least twice"}},
	{serveBad + "--filter-memory 99999999999GiB", 2, []string{"KiB, MiB or GiB"}},
	{serveBad + "--drain-timeout soon", 2, []string{"drain-timeout"}},
	{serveBad + "argument", 2, []string{"arguments: 1, want 0"}},
	{serveBad + "--ops $TAKEN", 1, []string{"--ops $TAKEN", "address already in use", "name another address"}},
	{"serve", 2, []string{"--listen (or POSTERN_LISTEN) is missing"}},
	{"serve --listen $TAKEN", 1, []string{"--listen $TAKEN", "address already in use: name another address"}},
	{"serve --listen nonsense", 1, []string{"--listen nonsense: it is no address: write host:port or unix:/path"}},
	{"serve --listen 127.0.0.1:99999", 1, []string{"--listen 127.0.0.1:99999", "invalid port"}},
	{"serve --listen unix:gate.sock", 1, []string{"--listen unix:gate.sock: it is no absolute path: write unix:/path"}},
	{"serve --listen unix:$DIR/plain", 1, []string{"--listen unix:$DIR/plain: the file is there and is no socket: name another path, or move it away"}},
	{"serve --listen unix:$DIR", 1, []string{"the file is there and is no socket"}},
	{"serve --listen unix:$DIR/none/gate.sock", 1, []string{"--listen unix:$DIR/none/gate.sock", "no such file or directory: make the folder $DIR/none"}},
	{"serve --listen unix:$DIR/" + strings.Repeat("l", 100), 1, []string{"a socket's path has 107 bytes at most"}},
	{serveBad + "--listen unix:$DIR/gate.sock", 1, []string{"--listen unix:$DIR/gate.sock: the path is named twice"}},
	{serveBad + "--ops unix:$DIR/./gate.sock", 1, []string{"gate.sock: the path is named twice"}},
	{serveBad + "--ops unix:$DIR/plain", 1, []string{"--ops unix:$DIR/plain: the file is there and is no socket"}},
	{"health 127.0.0.1:1", 1, []string{"ask 127.0.0.1:1: dial tcp", "connection refused: name the --ops address"}},
	{"health", 2, []string{"arguments: 0, want 1"}},
}

// Bad input gets an error that says what is wrong, where, and what to do, and
// changes nothing in the store.
func TestBadInput(t *testing.T) {
	s := newShell(t)
	secret := s.create("--permission getOrder")
	s.ok("key new $DIR/other.json")
	s.ok("key new $DIR/loose.json")
	if err := os.Chmod(s.dir+"/loose.json", 0o622); err != nil {
		t.Fatal(err)
	}
	s.write("broken.yaml", "openapi: 3.1.0\npaths: [}")
	s.write("empty.yaml", "")
	s.write("wild.yaml", document("/a/*: {get: {operationId: a}}", "/b: {get: {operationId: a}}"))
	s.write("plain", "a file")
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	s.vars["ID"], s.vars["TAKEN"], s.vars["ADDR"] = secret.ID, taken.Addr().String(), s.redis.Addr
	s.vars["NONE"] = strings.Repeat("0", 32)
	stored := s.dump()
	for _, tt := range badInput {
		r := s.brief(tt.line)
		s.ended(r, tt.code, s.expand(tt.texts)...)
		if strings.Contains(r.stderr+r.stdout, "hunter2") {
			t.Errorf("postern %s shows the password:\n%s", r.line, r.stderr)
		}
		s.unchanged(r.line, stored)
	}
	if got := s.read(s.dir + "/plain"); got != "a file" {
		t.Errorf("the file at a socket's path = %q, want it as it was", got)
	}
	files, err := os.ReadDir(s.dir)
	if err != nil || len(files) != 7 {
		t.Errorf("files = %v, %v, want no more than before", files, err)
	}
}

// brief runs a command line that ends by itself. One that does not is ended,
// with exit code 0, which no row wants.
func (s *shell) brief(line string) result {
	var stdout, stderr strings.Builder
	ctx, cancel := context.WithTimeout(s.t.Context(), 10*time.Second)
	defer cancel()
	args := s.words(line, nil)
	code := run(ctx, args, process{Getenv: func(name string) string { return s.env[name] }, Stdin: strings.NewReader(""), Stdout: &stdout, Stderr: &stderr})
	s.heard(stdout.String(), stderr.String())
	return result{strings.Join(args, " "), code, stdout.String(), stderr.String()}
}

// Every command that reaches the store refuses the key file of another one.
func TestWrongKeyFile(t *testing.T) {
	s := newShell(t)
	legacy, granted := s.form("merchant create m1"), s.create("--permission getOrder")
	s.ok("key new $DIR/other.json")
	s.vars["ADDED"] = s.keyIDs("key add $DIR/other.json")[1]
	s.vars["LEGACY"], s.vars["ID"] = legacy.ID, granted.ID
	stored := s.dump()
	for _, line := range []string{
		"merchant create m2", "merchant delete m1", "secret create --merchant m1 --description d --permission getOrder",
		"secret list --merchant m1", "secret show $ID", "secret delete $ID", "secret delete --token-stdin", "secret rotate $ID", "secret rotate $LEGACY",
		"secret rotate $ID --permissions latest", "check GET /api/3/orders/1", importLine + " --token-stdin", importLine + " --sha256 " + sum("x"),
	} {
		s.refused(s.runWith("peer-token-of-a-good-form", line+" --key-file $DIR/other.json"), "the key file has no key of this store: use the key file that the store's secrets were made with")
		s.unchanged(line, stored)
	}
	s.refused(s.run("key retire $DIR/other.json $ADDED"), "the key file has no key of this store")
	s.unchanged("key retire", stored)
	if ids := s.keyIDs("key new --if-missing $DIR/other.json"); len(ids) != 2 {
		t.Errorf("keys after key retire was refused = %v, want both", ids)
	}
}

// What reads, and what is refused, does not begin a store.
func TestNothingIsBegun(t *testing.T) {
	s := newShell(t)
	for _, line := range []string{
		"secret list --merchant m1", "secret show " + strings.Repeat("0", 32), "secret delete " + strings.Repeat("0", 32), "secret rotate " + strings.Repeat("0", 32),
		"secret delete --token-stdin", "merchant delete m1", "check GET /api/3/orders/1", "secret create --merchant m1", "merchant create m/1", importLine + " --sha256 x",
		importLine + " --token-stdin",
	} {
		s.runWith("not a token", line)
		s.unchanged(line, "")
	}
}
