;; Declares that it needs the namespace's labels although the operator does not allow them.
;;@ cluster namespace-labels
(func $hostile (result i32) (call $data (i32.const 0) (i32.const 0x40)) (call $changed))
