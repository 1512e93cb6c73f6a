;; Reads the document while it starts.
(func $start (call $read (i32.const 0x1000)))
(start $start)
