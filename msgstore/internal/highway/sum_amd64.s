//go:build amd64 && !noasm

#include "textflag.h"

// Initial multipliers of HighwayHash: mul0, mul1.
DATA initial<>+0x00(SB)/8, $0xdbe6d5d5fe4cce2f
DATA initial<>+0x08(SB)/8, $0xa4093822299f31d0
DATA initial<>+0x10(SB)/8, $0x13198a2e03707344
DATA initial<>+0x18(SB)/8, $0x243f6a8885a308d3
DATA initial<>+0x20(SB)/8, $0x3bd39e10cb0ef593
DATA initial<>+0x28(SB)/8, $0xc0acf169b5f18a8c
DATA initial<>+0x30(SB)/8, $0xbe5466cf34e90c6c
DATA initial<>+0x38(SB)/8, $0x452821e638d01377
GLOBL initial<>(SB), (NOPTR+RODATA), $64

DATA zipper<>+0x00(SB)/8, $0x000f010e05020c03
DATA zipper<>+0x08(SB)/8, $0x070806090d0a040b
DATA zipper<>+0x10(SB)/8, $0x000f010e05020c03
DATA zipper<>+0x18(SB)/8, $0x070806090d0a040b
GLOBL zipper<>(SB), (NOPTR+RODATA), $32

// 32 bytes of ones before 32 of zeros: read at 32-n it masks n bytes.
DATA masks<>+0x00(SB)/8, $0xffffffffffffffff
DATA masks<>+0x08(SB)/8, $0xffffffffffffffff
DATA masks<>+0x10(SB)/8, $0xffffffffffffffff
DATA masks<>+0x18(SB)/8, $0xffffffffffffffff
DATA masks<>+0x20(SB)/8, $0
DATA masks<>+0x28(SB)/8, $0
DATA masks<>+0x30(SB)/8, $0
DATA masks<>+0x38(SB)/8, $0
GLOBL masks<>(SB), (NOPTR+RODATA), $64

// UPDATE takes in the packet Y0. Y1 = v0, Y2 = v1, Y3 = mul0, Y4 = mul1,
// Y5 = the zipper; Y0 is lost.
#define UPDATE \
	VPADDQ   Y0, Y2, Y2 \
	VPADDQ   Y3, Y2, Y2 \
	VPSRLQ   $32, Y1, Y0 \
	VPMULUDQ Y2, Y0, Y0 \
	VPXOR    Y0, Y3, Y3 \
	VPADDQ   Y4, Y1, Y1 \
	VPSRLQ   $32, Y2, Y0 \
	VPMULUDQ Y1, Y0, Y0 \
	VPXOR    Y0, Y4, Y4 \
	VPSHUFB  Y5, Y2, Y0 \
	VPADDQ   Y0, Y1, Y1 \
	VPSHUFB  Y5, Y1, Y0 \
	VPADDQ   Y0, Y2, Y2

// PERMUTE takes in v0 with its halves and their words exchanged.
#define PERMUTE \
	VPERMQ  $0x4e, Y1, Y0 \
	VPSHUFD $0xb1, Y0, Y0 \
	UPDATE

// func sumAVX2(key *[32]byte, head *[16]byte, body *byte, n int) uint64
TEXT ·sumAVX2(SB), NOSPLIT, $0-40
	MOVQ key+0(FP), AX
	MOVQ head+8(FP), BX
	MOVQ body+16(FP), SI
	MOVQ n+24(FP), CX

	VMOVDQU (AX), Y1
	VPSHUFD $0xb1, Y1, Y2
	VMOVDQU initial<>+0x00(SB), Y3
	VMOVDQU initial<>+0x20(SB), Y4
	VPXOR   Y3, Y1, Y1
	VPXOR   Y4, Y2, Y2
	VMOVDQU zipper<>(SB), Y5

	// The first packet is the head, which may just have been written as two
	// words, and 16 bytes of the body.
	VMOVQ       (BX), X0
	VPINSRQ     $1, 8(BX), X0, X0
	VINSERTI128 $1, (SI), Y0, Y0
	UPDATE
	ADDQ        $16, SI
	SUBQ        $16, CX
	JMP         test

loop:
	VMOVDQU (SI), Y0
	UPDATE
	ADDQ    $32, SI
	SUBQ    $32, CX

test:
	CMPQ CX, $32
	JAE  loop
	TESTQ CX, CX
	JZ    final

	// The last r < 32 bytes: r is added to the words of v0, those of v1 are
	// rotated by it, and the packet holds the whole words of the rest in front
	// and its last bytes at a place of their own.
	VMOVQ        CX, X6
	VPBROADCASTD X6, Y7
	VPADDQ       Y7, Y1, Y1
	VPSLLD       X6, Y2, Y8
	MOVQ         $32, DX
	SUBQ         CX, DX
	VMOVQ        DX, X6
	VPSRLD       X6, Y2, Y2
	VPOR         Y8, Y2, Y2

	MOVQ       CX, DX
	ANDQ       $28, DX
	LEAQ       masks<>+0x20(SB), R8
	SUBQ       DX, R8
	VMOVDQU    (R8), Y6
	VPMASKMOVD (SI), Y6, Y0
	CMPQ       CX, $16
	JB         few

	VPBROADCASTD -4(SI)(CX*1), Y6
	VPBLENDD     $0x80, Y6, Y0, Y0
	JMP          last

few:
	ANDQ         $3, CX
	JZ           last
	ADDQ         DX, SI
	MOVBLZX      (SI), R8
	MOVQ         CX, R9
	SHRQ         $1, R9
	MOVBLZX      (SI)(R9*1), R10
	SHLL         $8, R10
	ORL          R10, R8
	MOVBLZX      -1(SI)(CX*1), R10
	SHLL         $16, R10
	ORL          R10, R8
	VMOVD        R8, X6
	VPBROADCASTD X6, Y6
	VPBLENDD     $0x10, Y6, Y0, Y0

last:
	UPDATE

final:
	PERMUTE
	PERMUTE
	PERMUTE
	PERMUTE
	VPADDQ Y2, Y1, Y1
	VPADDQ Y4, Y3, Y3
	VPADDQ Y3, Y1, Y1
	VMOVQ  X1, AX
	VZEROUPPER
	MOVQ   AX, ret+32(FP)
	RET

// UPDATE2 is UPDATE, and the same with the packet Y8 and Y9 = v0, Y10 = v1, Y11 = mul0,
// Y12 = mul1: an instruction of one sum while those of the other wait for each other.
#define UPDATE2 \
	VPADDQ   Y0, Y2, Y2 \
	VPADDQ   Y8, Y10, Y10 \
	VPADDQ   Y3, Y2, Y2 \
	VPADDQ   Y11, Y10, Y10 \
	VPSRLQ   $32, Y1, Y0 \
	VPSRLQ   $32, Y9, Y8 \
	VPMULUDQ Y2, Y0, Y0 \
	VPMULUDQ Y10, Y8, Y8 \
	VPADDQ   Y4, Y1, Y1 \
	VPADDQ   Y12, Y9, Y9 \
	VPXOR    Y0, Y3, Y3 \
	VPXOR    Y8, Y11, Y11 \
	VPSRLQ   $32, Y2, Y0 \
	VPSRLQ   $32, Y10, Y8 \
	VPMULUDQ Y1, Y0, Y0 \
	VPMULUDQ Y9, Y8, Y8 \
	VPXOR    Y0, Y4, Y4 \
	VPXOR    Y8, Y12, Y12 \
	VPSHUFB  Y5, Y2, Y0 \
	VPSHUFB  Y5, Y10, Y8 \
	VPADDQ   Y0, Y1, Y1 \
	VPADDQ   Y8, Y9, Y9 \
	VPSHUFB  Y5, Y1, Y0 \
	VPSHUFB  Y5, Y9, Y8 \
	VPADDQ   Y0, Y2, Y2 \
	VPADDQ   Y8, Y10, Y10

#define PERMUTE2 \
	VPERMQ  $0x4e, Y1, Y0 \
	VPERMQ  $0x4e, Y9, Y8 \
	VPSHUFD $0xb1, Y0, Y0 \
	VPSHUFD $0xb1, Y8, Y8 \
	UPDATE2

// func sumPairAVX2(key *[32]byte, headA *[16]byte, bodyA *byte, headB *[16]byte, bodyB *byte, n int) (a, b uint64)
//
// It is sumAVX2 of two sums of the same length, step by step.
TEXT ·sumPairAVX2(SB), NOSPLIT, $0-64
	MOVQ key+0(FP), AX
	MOVQ headA+8(FP), BX
	MOVQ bodyA+16(FP), SI
	MOVQ headB+24(FP), R11
	MOVQ bodyB+32(FP), DI
	MOVQ n+40(FP), CX

	VMOVDQU (AX), Y1
	VPSHUFD $0xb1, Y1, Y2
	VMOVDQU initial<>+0x00(SB), Y3
	VMOVDQU initial<>+0x20(SB), Y4
	VPXOR   Y3, Y1, Y1
	VPXOR   Y4, Y2, Y2
	VMOVDQU zipper<>(SB), Y5
	VMOVDQA Y1, Y9
	VMOVDQA Y2, Y10
	VMOVDQA Y3, Y11
	VMOVDQA Y4, Y12

	VMOVQ       (BX), X0
	VMOVQ       (R11), X8
	VPINSRQ     $1, 8(BX), X0, X0
	VPINSRQ     $1, 8(R11), X8, X8
	VINSERTI128 $1, (SI), Y0, Y0
	VINSERTI128 $1, (DI), Y8, Y8
	UPDATE2
	ADDQ        $16, SI
	ADDQ        $16, DI
	SUBQ        $16, CX
	JMP         test

loop:
	VMOVDQU (SI), Y0
	VMOVDQU (DI), Y8
	UPDATE2
	ADDQ    $32, SI
	ADDQ    $32, DI
	SUBQ    $32, CX

test:
	CMPQ CX, $32
	JAE  loop
	TESTQ CX, CX
	JZ    final

	VMOVQ        CX, X6
	VPBROADCASTD X6, Y7
	VPADDQ       Y7, Y1, Y1
	VPADDQ       Y7, Y9, Y9
	VPSLLD       X6, Y2, Y13
	VPSLLD       X6, Y10, Y14
	MOVQ         $32, DX
	SUBQ         CX, DX
	VMOVQ        DX, X6
	VPSRLD       X6, Y2, Y2
	VPSRLD       X6, Y10, Y10
	VPOR         Y13, Y2, Y2
	VPOR         Y14, Y10, Y10

	MOVQ       CX, DX
	ANDQ       $28, DX
	LEAQ       masks<>+0x20(SB), R8
	SUBQ       DX, R8
	VMOVDQU    (R8), Y6
	VPMASKMOVD (SI), Y6, Y0
	VPMASKMOVD (DI), Y6, Y8
	CMPQ       CX, $16
	JB         few

	VPBROADCASTD -4(SI)(CX*1), Y6
	VPBROADCASTD -4(DI)(CX*1), Y7
	VPBLENDD     $0x80, Y6, Y0, Y0
	VPBLENDD     $0x80, Y7, Y8, Y8
	JMP          last

few:
	ANDQ         $3, CX
	JZ           last
	ADDQ         DX, SI
	ADDQ         DX, DI
	MOVQ         CX, R9
	SHRQ         $1, R9
	MOVBLZX      (SI), R8
	MOVBLZX      (SI)(R9*1), R10
	SHLL         $8, R10
	ORL          R10, R8
	MOVBLZX      -1(SI)(CX*1), R10
	SHLL         $16, R10
	ORL          R10, R8
	VMOVD        R8, X6
	VPBROADCASTD X6, Y6
	VPBLENDD     $0x10, Y6, Y0, Y0
	MOVBLZX      (DI), R8
	MOVBLZX      (DI)(R9*1), R10
	SHLL         $8, R10
	ORL          R10, R8
	MOVBLZX      -1(DI)(CX*1), R10
	SHLL         $16, R10
	ORL          R10, R8
	VMOVD        R8, X6
	VPBROADCASTD X6, Y6
	VPBLENDD     $0x10, Y6, Y8, Y8

last:
	UPDATE2

final:
	PERMUTE2
	PERMUTE2
	PERMUTE2
	PERMUTE2
	VPADDQ Y2, Y1, Y1
	VPADDQ Y10, Y9, Y9
	VPADDQ Y4, Y3, Y3
	VPADDQ Y12, Y11, Y11
	VPADDQ Y3, Y1, Y1
	VPADDQ Y11, Y9, Y9
	VMOVQ  X1, AX
	VMOVQ  X9, BX
	VZEROUPPER
	MOVQ   AX, a+48(FP)
	MOVQ   BX, b+56(FP)
	RET

// func cpuid(leaf, sub uint32) (ax, bx, cx, dx uint32)
TEXT ·cpuid(SB), NOSPLIT, $0-24
	MOVL leaf+0(FP), AX
	MOVL sub+4(FP), CX
	CPUID
	MOVL AX, ax+8(FP)
	MOVL BX, bx+12(FP)
	MOVL CX, cx+16(FP)
	MOVL DX, dx+20(FP)
	RET

// func xgetbv() (ax uint32)
TEXT ·xgetbv(SB), NOSPLIT, $0-4
	XORL CX, CX
	XGETBV
	MOVL AX, ax+0(FP)
	RET
