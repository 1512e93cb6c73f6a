;; Reads the whole document although it declares no reads.
;;@ reads none
(func $hostile (result i32) (call $read (i32.const 0x1000)) (call $changed))
