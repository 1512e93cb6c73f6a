;; WASI preview 1 for policies: a system without files, environment, sockets and time of its own.
;;
;; `wit-component` merges it into a component whose core module imports `wasi_snapshot_preview1`. The component then
;; imports nothing but the contract. Every answer is the same in every run:
;;
;; - no arguments, no variables, no open folders; descriptors 0, 1 and 2 exist, all others are EBADF
;; - reads are at their end; writes report success, and their bytes are dropped
;; - the clock starts at one second after 1970 and advances one microsecond with each look; it is never 0, which Go's
;;   runtime refuses
;; - random numbers are one fixed sequence
;; - a wait ends at once, and the clock moves to its end
;; - an exit traps
(module
  (import "env" "memory" (memory 0))

  ;; Nanoseconds. Exported for the snapshot of a started runtime, which sets it to an earlier time.
  (global $clock (export "clock") (mut i64) (i64.const 1000000000))
  ;; The state of xorshift64, which must not be 0.
  (global $random (mut i64) (i64.const 0x2545f4914f6cdd1d))

  ;; 0 if the descriptor is one of the three standard ones, else EBADF.
  (func $standard (param $fd i32) (result i32)
    (select (i32.const 0) (i32.const 8) (i32.lt_u (local.get $fd) (i32.const 3))))

  ;; ESPIPE for a standard descriptor, else EBADF.
  (func $no_position (param $fd i32) (result i32)
    (select (i32.const 70) (i32.const 8) (i32.lt_u (local.get $fd) (i32.const 3))))

  ;; ENOTDIR for a standard descriptor, else EBADF.
  (func $no_folder (param $fd i32) (result i32)
    (select (i32.const 54) (i32.const 8) (i32.lt_u (local.get $fd) (i32.const 3))))

  ;; ENOTSOCK for a standard descriptor, else EBADF.
  (func $no_socket (param $fd i32) (result i32)
    (select (i32.const 57) (i32.const 8) (i32.lt_u (local.get $fd) (i32.const 3))))

  ;; Writes two zeros: a number of strings, and their bytes.
  (func $no_strings (param $count i32) (param $bytes i32) (result i32)
    (i32.store (local.get $count) (i32.const 0))
    (i32.store (local.get $bytes) (i32.const 0))
    (i32.const 0))

  (func (export "args_get") (param $list i32) (param $text i32) (result i32) (i32.const 0))
  (func (export "args_sizes_get") (param $count i32) (param $bytes i32) (result i32)
    (call $no_strings (local.get $count) (local.get $bytes)))
  (func (export "environ_get") (param $list i32) (param $text i32) (result i32) (i32.const 0))
  (func (export "environ_sizes_get") (param $count i32) (param $bytes i32) (result i32)
    (call $no_strings (local.get $count) (local.get $bytes)))

  ;; Of the four clocks of WASI, each is this one. EINVAL for any other.
  (func (export "clock_res_get") (param $id i32) (param $out i32) (result i32)
    (if (i32.gt_u (local.get $id) (i32.const 3)) (then (return (i32.const 28))))
    (i64.store (local.get $out) (i64.const 1000))
    (i32.const 0))
  (func (export "clock_time_get") (param $id i32) (param $precision i64) (param $out i32) (result i32)
    (if (i32.gt_u (local.get $id) (i32.const 3)) (then (return (i32.const 28))))
    (i64.store (local.get $out) (global.get $clock))
    (global.set $clock (i64.add (global.get $clock) (i64.const 1000)))
    (i32.const 0))

  (func (export "fd_advise") (param $fd i32) (param i64 i64 i32) (result i32) (call $no_position (local.get $fd)))
  (func (export "fd_allocate") (param $fd i32) (param i64 i64) (result i32) (call $no_position (local.get $fd)))
  (func (export "fd_close") (param $fd i32) (result i32) (call $standard (local.get $fd)))
  (func (export "fd_datasync") (param $fd i32) (result i32) (call $standard (local.get $fd)))
  ;; A character device that can be read if it is 0, and written if it is 1 or 2.
  (func (export "fd_fdstat_get") (param $fd i32) (param $out i32) (result i32)
    (if (i32.ge_u (local.get $fd) (i32.const 3)) (then (return (i32.const 8))))
    (i64.store (local.get $out) (i64.const 2))
    (i64.store offset=8 (local.get $out) (select (i64.const 64) (i64.const 2) (local.get $fd)))
    (i64.store offset=16 (local.get $out) (i64.const 0))
    (i32.const 0))
  (func (export "fd_fdstat_set_flags") (param $fd i32) (param i32) (result i32) (call $standard (local.get $fd)))
  (func (export "fd_fdstat_set_rights") (param $fd i32) (param i64 i64) (result i32) (call $standard (local.get $fd)))
  ;; A character device of size 0 without a date.
  (func (export "fd_filestat_get") (param $fd i32) (param $out i32) (result i32)
    (local $end i32)
    (if (i32.ge_u (local.get $fd) (i32.const 3)) (then (return (i32.const 8))))
    (local.set $end (i32.add (local.get $out) (i32.const 64)))
    (loop $next
      (local.set $end (i32.sub (local.get $end) (i32.const 8)))
      (i64.store (local.get $end) (i64.const 0))
      (br_if $next (i32.gt_u (local.get $end) (local.get $out))))
    (i32.store8 offset=16 (local.get $out) (i32.const 2))
    (i32.const 0))
  (func (export "fd_filestat_set_size") (param $fd i32) (param i64) (result i32) (call $no_position (local.get $fd)))
  (func (export "fd_filestat_set_times") (param $fd i32) (param i64 i64 i32) (result i32)
    (call $standard (local.get $fd)))
  (func (export "fd_pread") (param $fd i32) (param i32 i32 i64 i32) (result i32) (call $no_position (local.get $fd)))
  ;; Programs ask for open folders from descriptor 3 on, until EBADF.
  (func (export "fd_prestat_get") (param $fd i32) (param i32) (result i32) (i32.const 8))
  (func (export "fd_prestat_dir_name") (param $fd i32) (param i32 i32) (result i32) (i32.const 8))
  (func (export "fd_pwrite") (param $fd i32) (param i32 i32 i64 i32) (result i32) (call $no_position (local.get $fd)))
  (func (export "fd_read") (param $fd i32) (param $vectors i32) (param $count i32) (param $out i32) (result i32)
    (if (local.get $fd) (then (return (i32.const 8))))
    (i32.store (local.get $out) (i32.const 0))
    (i32.const 0))
  (func (export "fd_readdir") (param $fd i32) (param i32 i32 i64 i32) (result i32) (call $no_folder (local.get $fd)))
  (func (export "fd_renumber") (param $fd i32) (param i32) (result i32) (i32.const 8))
  (func (export "fd_seek") (param $fd i32) (param i64 i32 i32) (result i32) (call $no_position (local.get $fd)))
  (func (export "fd_sync") (param $fd i32) (result i32) (call $standard (local.get $fd)))
  (func (export "fd_tell") (param $fd i32) (param i32) (result i32) (call $no_position (local.get $fd)))
  ;; The sum of the lengths is the number of bytes that were written.
  (func (export "fd_write") (param $fd i32) (param $vectors i32) (param $count i32) (param $out i32) (result i32)
    (local $sum i32)
    (if (i32.gt_u (i32.sub (local.get $fd) (i32.const 1)) (i32.const 1)) (then (return (i32.const 8))))
    (block $done
      (loop $next
        (br_if $done (i32.eqz (local.get $count)))
        (local.set $sum (i32.add (local.get $sum) (i32.load offset=4 (local.get $vectors))))
        (local.set $vectors (i32.add (local.get $vectors) (i32.const 8)))
        (local.set $count (i32.sub (local.get $count) (i32.const 1)))
        (br $next)))
    (i32.store (local.get $out) (local.get $sum))
    (i32.const 0))

  (func (export "path_create_directory") (param $fd i32) (param i32 i32) (result i32)
    (call $no_folder (local.get $fd)))
  (func (export "path_filestat_get") (param $fd i32) (param i32 i32 i32 i32) (result i32)
    (call $no_folder (local.get $fd)))
  (func (export "path_filestat_set_times") (param $fd i32) (param i32 i32 i32 i64 i64 i32) (result i32)
    (call $no_folder (local.get $fd)))
  (func (export "path_link") (param $fd i32) (param i32 i32 i32 i32 i32 i32) (result i32)
    (call $no_folder (local.get $fd)))
  (func (export "path_open") (param $fd i32) (param i32 i32 i32 i32 i64 i64 i32 i32) (result i32)
    (call $no_folder (local.get $fd)))
  (func (export "path_readlink") (param $fd i32) (param i32 i32 i32 i32 i32) (result i32)
    (call $no_folder (local.get $fd)))
  (func (export "path_remove_directory") (param $fd i32) (param i32 i32) (result i32)
    (call $no_folder (local.get $fd)))
  (func (export "path_rename") (param $fd i32) (param i32 i32 i32 i32 i32) (result i32)
    (call $no_folder (local.get $fd)))
  (func (export "path_symlink") (param i32 i32) (param $fd i32) (param i32 i32) (result i32)
    (call $no_folder (local.get $fd)))
  (func (export "path_unlink_file") (param $fd i32) (param i32 i32) (result i32)
    (call $no_folder (local.get $fd)))

  ;; Every subscription has its event at once. The clock moves to the latest end of a wait. EINVAL without a
  ;; subscription.
  (func (export "poll_oneoff")
    (param $subscription i32) (param $event i32) (param $count i32) (param $out i32) (result i32)
    (local $start i64) (local $end i64) (local $kind i32) (local $left i32)
    (if (i32.eqz (local.get $count)) (then (return (i32.const 28))))
    (local.set $start (global.get $clock))
    (local.set $left (local.get $count))
    (loop $next
      (local.set $kind (i32.load8_u offset=8 (local.get $subscription)))
      (if (i32.gt_u (local.get $kind) (i32.const 2)) (then (return (i32.const 28))))
      (i64.store (local.get $event) (i64.load (local.get $subscription)))
      (i64.store offset=8 (local.get $event) (i64.const 0))
      (i64.store offset=16 (local.get $event) (i64.const 0))
      (i64.store offset=24 (local.get $event) (i64.const 0))
      (i32.store8 offset=10 (local.get $event) (local.get $kind))
      (if (local.get $kind)
        (then (i32.store16 offset=8 (local.get $event) (call $standard (i32.load offset=16 (local.get $subscription)))))
        (else
          (local.set $end (i64.load offset=24 (local.get $subscription)))
          ;; Without the flag for an absolute time, the timeout counts from now.
          (if (i32.eqz (i32.and (i32.load16_u offset=40 (local.get $subscription)) (i32.const 1)))
            (then (local.set $end (i64.add (local.get $start) (local.get $end)))))
          (if (i64.gt_u (local.get $end) (global.get $clock)) (then (global.set $clock (local.get $end))))))
      (local.set $subscription (i32.add (local.get $subscription) (i32.const 48)))
      (local.set $event (i32.add (local.get $event) (i32.const 32)))
      (br_if $next (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
    (i32.store (local.get $out) (local.get $count))
    (i32.const 0))

  (func (export "proc_exit") (param $code i32) unreachable)
  ;; ENOSYS: there are no signals.
  (func (export "proc_raise") (param $signal i32) (result i32) (i32.const 52))
  (func (export "sched_yield") (result i32) (i32.const 0))

  ;; One byte for each step of xorshift64.
  (func (export "random_get") (param $to i32) (param $bytes i32) (result i32)
    (local $state i64)
    (local.set $state (global.get $random))
    (block $done
      (loop $next
        (br_if $done (i32.eqz (local.get $bytes)))
        (local.set $state (i64.xor (local.get $state) (i64.shl (local.get $state) (i64.const 13))))
        (local.set $state (i64.xor (local.get $state) (i64.shr_u (local.get $state) (i64.const 7))))
        (local.set $state (i64.xor (local.get $state) (i64.shl (local.get $state) (i64.const 17))))
        (i64.store8 (local.get $to) (i64.shr_u (local.get $state) (i64.const 56)))
        (local.set $to (i32.add (local.get $to) (i32.const 1)))
        (local.set $bytes (i32.sub (local.get $bytes) (i32.const 1)))
        (br $next)))
    (global.set $random (local.get $state))
    (i32.const 0))

  (func (export "sock_accept") (param $fd i32) (param i32 i32) (result i32) (call $no_socket (local.get $fd)))
  (func (export "sock_recv") (param $fd i32) (param i32 i32 i32 i32 i32) (result i32)
    (call $no_socket (local.get $fd)))
  (func (export "sock_send") (param $fd i32) (param i32 i32 i32 i32) (result i32) (call $no_socket (local.get $fd)))
  (func (export "sock_shutdown") (param $fd i32) (param i32) (result i32) (call $no_socket (local.get $fd))))
