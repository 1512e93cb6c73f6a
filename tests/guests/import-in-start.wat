;; Reads the document in its start function.
(func $start (call $read (i32.const 0x1000)))
(start $start)
