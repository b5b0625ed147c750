package postgres_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/postgres"
)

// TestFrozenFunctionHoldsNoLock: Lambda freezes a function that runs out of time. It then neither sends nor reads, and
// its connections stay open. Wherever that happens, the server ends the transaction, so others can change the user.
func TestFrozenFunctionHoldsNoLock(t *testing.T) {
	w := newWorld(t, testserver.SharedPostgres(t, testserver.PostgresOptions{}))
	const points, bound = 30, 8 * time.Second
	var wg sync.WaitGroup
	var waited, done atomic.Int32
	for at := int32(1); at <= points; at++ {
		user, password := w.role("CONNECTION LIMIT 8")
		clone := user + "_clone"
		w.sql("CREATE ROLE %I IN ROLE %I", clone, user)
		w.sql("COMMENT ON ROLE %I IS %L", clone, fmt.Sprintf("rotator: second user of %q", user))
		proxy := testserver.Proxy(t, w.pg.Addr())
		frozen, thaw := make(chan struct{}), make(chan struct{})
		t.Cleanup(func() { close(thaw) })
		var sent atomic.Int32
		proxy.Filter(func(c testserver.Chunk) bool {
			if !c.FromServer && sent.Add(1) == at {
				close(frozen)
			}
			if sent.Load() >= at {
				<-thaw
			}
			return true
		})
		r := &engine.Request{Secret: "arn", Version: "v", Strategy: engine.AlternatingUsers, Current: engine.StringValue(w.value(user, password)), Superuser: true,
			Pending: engine.StringValue(w.value(clone, "next-Passw0rd-1")), Login: engine.StringValue(w.value(w.pg.User, w.pg.Password, "port", fmt.Sprint(proxy.Port)))}
		wg.Go(func() {
			finished := make(chan struct{})
			go func() {
				defer close(finished)
				ctx, cancel := context.WithTimeout(context.Background(), 2*bound)
				defer cancel()
				_ = postgres.New(w.tls).Set(ctx, r)
			}()
			select {
			case <-finished:
				done.Add(1) // it needed fewer messages than that
				return
			case <-frozen:
			}
			begin := time.Now()
			conn, err := pgx.Connect(context.Background(), w.pg.URL("postgres"))
			if err == nil {
				defer conn.Close(context.Background())
				_, err = conn.Exec(context.Background(), fmt.Sprintf("SET lock_timeout = %d; ALTER ROLE %s CONNECTION LIMIT 9", bound.Milliseconds(), clone))
			}
			if err != nil {
				t.Errorf("frozen at message %d: %v", at, err)
			}
			if time.Since(begin) > bound/4 {
				waited.Add(1)
			}
		})
	}
	wg.Wait()
	if waited.Load() == 0 || done.Load() == 0 {
		t.Errorf("%d freezes held a lock, and %d came after the last message: this test proves nothing", waited.Load(), done.Load())
	}
}
