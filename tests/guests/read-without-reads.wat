;; Reads the whole document, and declares no read at all.
;;@ reads none
(func $hostile (result i32) (call $read (i32.const 0x1000)) (call $changed))
