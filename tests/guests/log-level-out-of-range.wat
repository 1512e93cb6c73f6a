;; Logs at a level that the contract does not define.
(func $hostile (result i32) (call $write (i32.const 77) (i32.const 0x1000) (i32.const 1)) (call $changed))
